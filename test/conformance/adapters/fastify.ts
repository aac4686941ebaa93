import headgate from '@headgate/fastify';
import type Fastify from 'fastify';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { onTestFinished } from 'vitest';
import { type Adapter, type Io, inSpan, messageOf, type TestRoute, userOf } from './adapter.ts';

declare module 'fastify' {
  interface FastifyRequest {
    user: string | undefined;
  }
}

/** Fastify through its own adapter. `version` is a version's export. */
export function fastifyAdapter(name: string, version: typeof Fastify): Adapter {
  const ioOf = (request: FastifyRequest, reply: FastifyReply): Io => ({
    key: request,
    request: request.raw,
    response: reply.raw,
    body: request.body,
    json: (value) => reply.send(value),
    events: (stream, options) => reply.claudeEvents(stream, options),
    takeOver: () => void reply.hijack(),
  });
  const add = (app: FastifyInstance, routes: readonly TestRoute[]) => {
    for (const { method = 'POST', path, options, handle } of routes) {
      app.route({
        method,
        url: path,
        ...(options === undefined ? {} : { config: { headgate: options } }),
        handler: async (request, reply) => {
          await handle(ioOf(request, reply));
          return reply;
        },
      });
    }
  };
  return {
    name,
    hasHttp2: true,
    async serve({ doors, routes, nested, handOver, tracer, http2 = false, errors: answers = {} }) {
      const app = version({
        ...(http2 ? { http2 } : {}),
        forceCloseConnections: true,
      } as object) as unknown as FastifyInstance;
      app.addHook('onRequest', (request, reply, next) => inSpan(tracer, reply.raw, request.url, next));
      app.setErrorHandler((error, _request, reply) =>
        reply.raw.headersSent ? reply.raw.destroy() : reply.code(500).send(messageOf(error)),
      );
      // A body that a route reads itself.
      app.addContentTypeParser('application/octet-stream', (_request, _payload, done) => done(null));
      app.register(async (inner) => {
        for (const { governor, options } of doors) {
          const { caller, ...others } = options;
          const errors = governor === doors[0]?.governor;
          inner.register(headgate, {
            ...answers,
            governor,
            errors,
            ...others,
            caller: caller && ((request) => caller(request.user)),
          });
        }
        inner.decorateRequest('user', undefined);
        inner.addHook('onRequest', async (request) => {
          request.user = userOf(request.raw);
        });
        if (handOver !== undefined) {
          inner.addHook('preHandler', (_request, _reply, done) => handOver(done));
        }
        inner.register(async (child) => add(child, routes));
        if (nested !== undefined) inner.register(async (child) => add(child, nested), { prefix: '/nested' });
      });
      await app.listen({ port: 0, host: '127.0.0.1' });
      onTestFinished(() => app.close());
      return app.listeningOrigin;
    },
  };
}
