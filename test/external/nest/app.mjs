/** A Nest app on the adapter named by the first argument, against the Claude API at the second; it prints its port. */
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor } from '@headgate/core';
import { headgate as expressDoor } from '@headgate/express';
import fastifyDoor from '@headgate/fastify';
import { HeadgateFilter } from '@headgate/nest';
import { Controller, Get, Module, Post, Sse } from '@nestjs/common';
import { APP_FILTER, NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { from } from 'rxjs';

const [, , kind, baseURL, by] = process.argv;
const governor = createGovernor({
  config: { quotas: [{ name: 'once', per: 'user', requests: '1/day' }] },
  logger: { info() {}, warn() {}, error() {} },
});
const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL }));
const question = { model: 'claude-haiku-4-5', max_tokens: 50, messages: [{ role: 'user', content: 'hi' }] };

class Calls {
  create() {
    return claude.messages.create(question);
  }
  post() {
    return claude.messages.create(question);
  }
  async helper() {
    return { text: await claude.messages.stream(question).finalText() };
  }
  events() {
    return from(claude.messages.create(question).then((message) => ({ data: message.id })));
  }
  broken() {
    throw new Error('broken');
  }
}
const decorate = (name, decorator) =>
  decorator(Calls.prototype, name, Object.getOwnPropertyDescriptor(Calls.prototype, name));
Controller()(Calls);
decorate('create', Get('create'));
decorate('post', Post('post'));
decorate('helper', Get('helper'));
decorate('events', Sse('events'));
decorate('broken', Get('broken'));

class App {}
const providers = by === 'provider' ? [{ provide: APP_FILTER, useClass: HeadgateFilter }] : [];
Module({ controllers: [Calls], providers })(App);

const adapter = kind === 'fastify' ? new FastifyAdapter() : new ExpressAdapter();
const app = await NestFactory.create(App, adapter, { logger: ['error', 'warn'] });
if (kind === 'fastify') {
  const caller = ({ headers }) => ({ user: headers['x-user'] });
  // Nest sets an error handler of its own.
  await app.register(fastifyDoor, { governor, caller, errors: false });
} else app.use(expressDoor(governor, { caller: ({ headers }) => ({ user: headers['x-user'] }) }));
if (by !== 'provider') app.useGlobalFilters(new HeadgateFilter(app.getHttpAdapter()));
await app.listen(0, '127.0.0.1');
console.log(`port ${app.getHttpServer().address().port}`);
