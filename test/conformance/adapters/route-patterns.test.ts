import { headgate as fastifyHeadgate } from '@headgate/fastify';
import { headgate as koaHeadgate } from '@headgate/koa';
import Router from '@koa/router';
import type expressTypes from 'express';
import express5 from 'express';
import express4 from 'express-4';
import Fastify from 'fastify';
import Koa from 'koa';
import { describe, expect, it, onTestFinished } from 'vitest';
import { routeOf } from '../../../packages/express/src/route.ts';
import { ask, startGoverned } from '../../support/governed.ts';
import { listen } from '../../support/listen.ts';
import { startTelemetry } from '../../support/telemetry.ts';

describe.each([
  ['Express 5', express5],
  ['Express 4', express4 as unknown as typeof expressTypes],
] as const)('the route of a request in %s', (_, express) => {
  const answer: expressTypes.RequestHandler = (req, res) => {
    // A call may be made long after the router has gone on.
    setTimeout(() => res.json(routeOf(req) ?? null), 1);
  };
  async function routesOf(build: (app: expressTypes.Express) => void, paths: readonly string[]) {
    const app = express();
    build(app);
    const url = await listen(app);
    return Promise.all(paths.map(async (path) => (await fetch(`${url}${path}`)).json()));
  }

  it('is a pattern with those of the routers around it, however deep and under whatever parameter', async () => {
    const paths = [
      '/users/ada@example.org/chat',
      '/users/users/chat?x=1',
      '/users/a%2Fb/rooms/17/notes/5',
      '/static/chat',
      '/plain/9',
      '/users/ada',
      '/',
    ];
    const routes = await routesOf((app) => {
      const notes = express.Router().get('/:note', answer);
      const rooms = express.Router().use('/:room/notes', notes);
      const users = express.Router({ mergeParams: true }).get('/chat', answer).get('/', answer);
      users.use('/rooms', rooms);
      app.use('/users/:user', users);
      app.use('/static', express.Router().get('/chat', answer));
      app.get('/plain/:id', answer);
      app.get('/', answer);
    }, paths);
    expect(routes).toEqual([
      '/users/:user/chat',
      '/users/:user/chat',
      '/users/:user/rooms/:room/notes/:note',
      '/static/chat',
      '/plain/:id',
      // As a route of a router is called everywhere.
      '/users/:user/',
      '/',
    ]);
  });

  it('is a pattern in mounted apps, lists of paths and regular expressions', async () => {
    const routes = await routesOf(
      (app) => {
        const inner = express().get('/chat/:id', answer);
        const middle = express().use('/rooms/:room', inner);
        app.use('/tenants/:tenant', middle);
        app.use(['/one/:a', '/two/:b'], express.Router().get(['/x/:id', '/y/:id'], answer));
        app.use('/expression/:id', express.Router().get(/^\/(\d+)$/, answer));
        app.get(/^\/secret-(.*)$/, answer);
      },
      ['/tenants/ada/rooms/7/chat/9', '/two/ada/y/3', '/expression/ada/12', '/secret-of-ada'],
    );
    expect(routes).toEqual([
      '/tenants/:tenant/rooms/:room/chat/:id',
      '/two/:b/y/:id',
      String.raw`/expression/:id/^\/(\d+)$/`,
      String.raw`/^\/secret-(.*)$/`,
    ]);
  });

  it('never has in it what a client wrote, also where its router cannot be found', async () => {
    const routes = await routesOf(
      (app) => {
        const router = express.Router().get('/chat', answer);
        // A router in a function of the app's own is nobody's to look into.
        app.use('/users/:user', (req, res, next) => router(req, res, next));
        app.use(/^\/people\/[^/]+/, express.Router().get('/chat', answer));
      },
      ['/users/ada/chat', '/people/ada/chat'],
    );
    for (const route of routes) expect(route).not.toContain('ada');
    expect(routes[0]).toBe('/*/chat');
  });
});

describe('the route of a request', () => {
  async function admissionsOf(
    serve: (governed: Awaited<ReturnType<typeof startGoverned>>) => Promise<string>,
  ) {
    const telemetry = startTelemetry();
    const governed = await startGoverned({ governor: { tracerProvider: telemetry.tracerProvider } });
    const url = await serve(governed);
    for (const path of ['/users/ada/rooms/7/chat', '/expression/12']) await fetch(`${url}${path}`);
    return telemetry.spans.spans
      .filter((span) => span.name === 'headgate.admission')
      .map(({ attributes }) => attributes['headgate.route']);
  }

  it('in Koa is a pattern, in routers of any depth and by regular expressions', async () => {
    const routes = await admissionsOf(async ({ governor, claude }) => {
      const answer = async (ctx: Koa.Context) => {
        ctx.body = await claude.messages.create(ask());
      };
      const chat = new Router().get('/chat', answer);
      const rooms = new Router().use('/rooms/:room', chat.routes());
      const app = new Koa().use(koaHeadgate(governor, { caller: () => ({ user: 'ada' }) }));
      app.use(new Router().use('/users/:user', rooms.routes()).routes());
      app.use(new Router().get(/^\/expression\/(\d+)$/, answer).routes());
      return listen(app.callback());
    });
    expect(routes).toEqual(['/users/:user/rooms/:room/chat', String.raw`/^\/expression\/(\d+)$/`]);
  });

  it('in Fastify is a pattern, under prefixes of any depth', async () => {
    const routes = await admissionsOf(async ({ governor, claude }) => {
      const app = Fastify();
      await app.register(fastifyHeadgate, { governor, caller: () => ({ user: 'ada' }) });
      const answer = async () => claude.messages.create(ask());
      await app.register(
        async (users) => {
          await users.register(async (rooms) => void rooms.get('/chat', answer), { prefix: '/rooms/:room' });
        },
        { prefix: '/users/:user' },
      );
      app.get('/expression/:id(^\\d+$)', answer);
      const url = await app.listen({ port: 0, host: '127.0.0.1' });
      onTestFinished(() => app.close());
      return url;
    });
    expect(routes).toEqual(['/users/:user/rooms/:room/chat', '/expression/:id(^\\d+$)']);
  });
});
