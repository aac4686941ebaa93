import type { Governor } from '@headgate/core';
import {
  answerTo,
  type ClaudeStream,
  checkRoute,
  createDoor,
  type DoorOptions,
  type EventStreamOptions,
  openEventStream,
  type RouteOptions,
} from '@headgate/core/http';
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import fastifyPlugin from 'fastify-plugin';

export interface HeadgateOptions extends DoorOptions<[request: FastifyRequest, reply: FastifyReply]> {
  readonly governor: Governor;
  /** False: leaves the error handler alone; yours hands refused calls to `headgateErrors`. Default: true. */
  readonly errors?: boolean;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What the route says about its Claude calls. */
    headgate?: RouteOptions;
  }
  interface FastifyReply {
    /** Sends a Claude stream as server-sent events. Done when the response is. */
    claudeEvents(
      stream: ClaudeStream | PromiseLike<ClaudeStream>,
      options?: EventStreamOptions,
    ): Promise<FastifyReply>;
  }
}

/** Puts every Claude call of a request under the governor, in the name of the request's caller. */
const plugin: FastifyPluginAsync<HeadgateOptions> = async (app, { governor, errors = true, ...options }) => {
  const door = createDoor(governor, options, {
    raw: (request, reply) => ({ request: request.raw, response: reply.raw }),
    route: (request) => request.routeOptions.url,
    options: (request) => request.routeOptions.config.headgate,
  });
  app.addHook('onRequest', (request, reply, next) => {
    door(request.raw, [request, reply], next);
  });
  if (!app.hasReplyDecorator('claudeEvents')) {
    app.decorateReply('claudeEvents', async function (stream, options) {
      const { headers, body } = await openEventStream(stream, this.raw, options);
      return this.headers(headers).send(body);
    });
  }
  if (errors) app.setErrorHandler(headgateErrors);
};

/**
 * Answers for the calls that Headgate refused, with the status, `Retry-After` and an error body like the API's own.
 * Every other error is thrown on, to the error handler that was set before.
 */
export function headgateErrors(error: unknown, _request: FastifyRequest, reply: FastifyReply): void {
  const answer = answerTo(error, reply.raw);
  if (answer === undefined) throw error;
  if (answer === 'answered') reply.hijack();
  else reply.code(answer.status).headers(answer.headers).send(answer.text);
}

/** What a route says about its calls: `app.post('/summary', headgate.route({ lane: 'background' }), …)`. */
function route(options: RouteOptions): { config: { headgate: RouteOptions } } {
  return { config: { headgate: checkRoute(options) } };
}

export const headgate = Object.assign(fastifyPlugin(plugin, { fastify: '5.x', name: '@headgate/fastify' }), {
  route,
});
export default headgate;
