import type { ServerResponse } from 'node:http';
import { answerTo, checkErrorOptions, type ErrorOptions } from '@headgate/core/http';
import { type ArgumentsHost, Catch, type HttpServer } from '@nestjs/common';
import { BaseExceptionFilter } from '@nestjs/core';

/** What the filter uses of Express's response. */
interface ExpressResponse extends ServerResponse {
  status(code: number): this;
  set(headers: Readonly<Record<string, string>>): this;
}

/** What it uses of Fastify's reply. */
interface FastifyReply {
  readonly raw: ServerResponse;
  code(status: number): this;
  headers(values: Readonly<Record<string, string>>): this;
  send(text: string): unknown;
  hijack(): unknown;
}

/**
 * Answers for the Claude calls that Headgate refused, with the status, `Retry-After` and an error body like the API's
 * own, on the Express and the Fastify adapter, and logs nothing of them. Every other error is Nest's own to answer. For
 * HTTP: in other contexts the error is thrown on.
 */
export class HeadgateFilter extends BaseExceptionFilter {
  readonly #options: ErrorOptions;

  /** `refusals.body` is given the framework's own request. */
  constructor(applicationRef?: HttpServer, options: ErrorOptions = {}) {
    super(applicationRef);
    this.#options = checkErrorOptions('HeadgateFilter', options);
  }

  override catch(error: unknown, host: ArgumentsHost): void {
    if (host.getType() !== 'http') throw error;
    const http = host.switchToHttp();
    const response = http.getResponse<ExpressResponse | FastifyReply>();
    const own = 'raw' in response ? response.raw : response;
    const answer = answerTo(error, own, http.getRequest<unknown>(), this.#options);
    if (answer === undefined) super.catch(error, host);
    else if ('raw' in response) {
      if (answer === 'answered') response.hijack();
      else response.code(answer.status).headers(answer.headers).send(answer.text);
    } else if (answer !== 'answered') response.status(answer.status).set(answer.headers).end(answer.text);
  }
}

// The decorator, as a call: the sources are plain TypeScript.
Catch()(HeadgateFilter);
