import type { Governor } from '@headgate/core';
import {
  answerTo,
  type ClaudeStream,
  checkErrorOptions,
  checkRoute,
  createDoor,
  type DoorOptions,
  type ErrorOptions,
  type EventStreamOptions,
  openEventStream,
  type RouteOptions,
} from '@headgate/core/http';
import type { FastifyPluginAsync, FastifyReply, FastifyRequest, RegisterOptions } from 'fastify';
import fastifyPlugin from 'fastify-plugin';
import { stepAgain, stepAgainOnChannel } from './steps.ts';

export interface HeadgateOptions
  extends DoorOptions<[request: FastifyRequest, reply: FastifyReply]>,
    ErrorOptions<FastifyRequest> {
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

/** What `register` takes for itself stands among a plugin's options too. */
function withoutRegister<T extends object>(options: T & RegisterOptions): Omit<T, keyof RegisterOptions> {
  const { prefix: _prefix, logLevel: _logLevel, logSerializers: _logSerializers, ...own } = options;
  return own;
}

/** Puts every Claude call of a request under the governor, in the name of the request's caller. */
const plugin: FastifyPluginAsync<HeadgateOptions> = async (app, { governor, errors = true, ...others }) => {
  const { upstreamErrors, refusals, ...options } = withoutRegister(others);
  const answers = checkErrorOptions('headgate', { upstreamErrors, refusals });
  const door = createDoor(governor, options, {
    raw: (request, reply) => ({ request: request.raw, response: reply.raw }),
    route: (request) => request.routeOptions.url,
    options: (request) => request.routeOptions.config.headgate,
    gaveUp: onHandlerTimeout,
  });
  app.addHook('onRequest', (request, reply, next) => {
    door(request.raw, [request, reply], next);
  });
  stepAgainOnChannel(app, door);
  stepAgain(app, door.step);
  if (!app.hasReplyDecorator('claudeEvents')) {
    app.decorateReply('claudeEvents', async function (stream, options) {
      const { headers, body } = await openEventStream(stream, this.raw, options);
      return this.headers(headers).send(body);
    });
  }
  if (errors) {
    app.setErrorHandler((error, request, reply) => answerError(error, request, reply, answers));
  }
};

/**
 * Calls `end` when Fastify answers 503 by `handlerTimeout`. Its signal aborts for other reasons too: of a request with a
 * body as soon as that has been read, with the client still waiting.
 */
function onHandlerTimeout(end: () => void, request: FastifyRequest): void {
  // An older Fastify has neither option nor signal; without the option the signal is made by looking at it.
  const { handlerTimeout }: { handlerTimeout?: number } = request.routeOptions;
  if (handlerTimeout === undefined || handlerTimeout === 0) return;
  const { signal } = request;
  const look = () => {
    if ((signal.reason as { code?: unknown } | undefined)?.code === 'FST_ERR_HANDLER_TIMEOUT') end();
  };
  if (signal.aborted) look();
  else signal.addEventListener('abort', look, { once: true });
}

/**
 * Answers for the calls that Headgate refused, with the status, `Retry-After` and an error body like the API's own.
 * Every other error is thrown on, to the error handler that was set before.
 */
export function headgateErrors(error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  answerError(error, request, reply, {});
}

function answerError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  options: ErrorOptions<FastifyRequest>,
): void {
  const answer = answerTo(error, reply.raw, request, options);
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
