import type { IncomingMessage } from 'node:http';
import { headgate } from '@headgate/koa';
import Router from '@koa/router';
import type Koa from 'koa';
import { type Adapter, type Io, inSpan, listen, messageOf, type TestRoute, userOf } from './adapter.ts';

async function jsonOf(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text === '' ? undefined : JSON.parse(text);
}

/** Koa through its own adapter. `version` is a major's export. */
export function koaAdapter(name: string, version: typeof Koa): Adapter {
  const ioOf = (ctx: Koa.Context): Io => ({
    key: ctx,
    request: ctx.req,
    response: ctx.res,
    body: ctx.state.body,
    json: (value) => {
      ctx.body = value;
    },
    events: (stream, options) => headgate.events(ctx, stream, options),
    takeOver: () => {
      ctx.respond = false;
    },
  });
  const routerOf = (routes: readonly TestRoute[], prefix?: string) => {
    const router = new Router(prefix === undefined ? {} : { prefix });
    for (const { method = 'POST', path, options, handle } of routes) {
      const before = options === undefined ? [] : [headgate.route(options)];
      const add = method === 'GET' ? router.get.bind(router) : router.post.bind(router);
      add(path, ...before, async (ctx) => void (await handle(ioOf(ctx))));
    }
    return router;
  };
  return {
    name,
    hasHttp2: true,
    serve({ doors, routes, nested, handOver, tracer, http2, errors }) {
      const app = new version();
      app.silent = true;
      app.use((ctx, next) => inSpan(tracer, ctx.res, ctx.path, next));
      app.use(async (ctx, next) => {
        try {
          await next();
        } catch (error) {
          if (ctx.headerSent) throw error;
          ctx.status = 500;
          ctx.body = messageOf(error);
        }
      });
      for (const { governor, options } of doors) {
        const { caller, ...others } = options;
        app.use(
          headgate(governor, { ...errors, ...others, caller: caller && ((ctx) => caller(ctx.state.user)) }),
        );
      }
      app.use(async (ctx, next) => {
        ctx.state.user = userOf(ctx.req);
        if (ctx.is('json')) ctx.state.body = await jsonOf(ctx.req);
        await next();
      });
      if (handOver !== undefined) {
        app.use(
          (_ctx, next) => new Promise((resolve, reject) => handOver(() => void next().then(resolve, reject))),
        );
      }
      app.use(routerOf(routes).routes());
      if (nested !== undefined) app.use(routerOf(nested, '/nested').routes());
      return listen(app.callback(), http2);
    },
  };
}
