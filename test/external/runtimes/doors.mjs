// Run by every runtime alike: an app of each framework, whose calls are governed, is asked for JSON and for a stream and
// refuses the third call of a user; and counters in an SQLite file are there again after a restart. Prints one line of
// JSON for each scene. API_URL: the Claude API; FOLDER: where the file may stand.
import { join } from 'node:path';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, isHeadgateError, sqliteStore } from '@headgate/core';
import * as forExpress from '@headgate/express';
import forFastify from '@headgate/fastify';
import { headgate as forKoa } from '@headgate/koa';
import express from 'express';
import Fastify from 'fastify';
import Koa from 'koa';

const quiet = { info() {}, warn() {}, error() {} };
const ask = { model: 'claude-sonnet-4-6', max_tokens: 50, messages: [{ role: 'user', content: 'hello' }] };
const config = { quotas: [{ name: 'two', per: 'user', requests: '2/day' }] };
const tell = (scene, told) => console.log(JSON.stringify({ scene, ...told }));

function start(store) {
  const governor = createGovernor({ config, logger: quiet, ...(store === undefined ? {} : { store }) });
  const client = new Anthropic({ apiKey: 'k', baseURL: process.env.API_URL, logLevel: 'off' });
  return { governor, claude: governor.govern(client) };
}
const stream = (claude) => claude.messages.create({ ...ask, stream: true });

const APPS = {
  async express({ governor, claude }) {
    const app = express();
    app.use(forExpress.headgate(governor, { caller: () => ({ user: 'ada' }) }));
    app.get('/json', async (_, res) => void res.json(await claude.messages.create(ask)));
    app.get('/stream', async (_, res) => forExpress.headgate.events(res, stream(claude)));
    app.use(forExpress.headgateErrors());
    const server = app.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    return { port: server.address().port, close: () => server.close() };
  },
  async koa({ governor, claude }) {
    const app = new Koa();
    app.use(forKoa(governor, { caller: () => ({ user: 'ada' }) }));
    app.use(async (ctx) => {
      if (ctx.path === '/json') ctx.body = await claude.messages.create(ask);
      else await forKoa.events(ctx, stream(claude));
    });
    const server = app.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    return { port: server.address().port, close: () => server.close() };
  },
  async fastify({ governor, claude }) {
    const app = Fastify();
    app.register(forFastify, { governor, caller: () => ({ user: 'ada' }) });
    app.get('/json', async () => claude.messages.create(ask));
    app.get('/stream', async (_, reply) => reply.claudeEvents(stream(claude)));
    await app.listen({ port: 0, host: '127.0.0.1' });
    return { port: app.server.address().port, close: () => app.close() };
  },
};

for (const [framework, listen] of Object.entries(APPS)) {
  const governed = start();
  const { port, close } = await listen(governed);
  const get = (path) => fetch(`http://127.0.0.1:${port}/${path}`);
  const json = await get('json');
  const { type } = await json.json();
  const events = await get('stream');
  const text = await events.text();
  const refused = await get('json');
  const { error } = await refused.json();
  tell(framework, {
    json: [json.status, type],
    stream: [events.status, text.includes('event: message_stop')],
    refused: [refused.status, error.type, Number(refused.headers.get('retry-after')) > 0],
    limit: refused.headers.get('ratelimit')?.startsWith('"two";r=0') === true,
  });
  await close();
  await governed.governor.close();
}

try {
  const outcomes = [];
  // The second is another start of the app.
  for (const calls of [1, 2]) {
    const { governor, claude } = start(sqliteStore({ path: join(process.env.FOLDER, 'counters.sqlite') }));
    for (let call = 0; call < calls; call++)
      outcomes.push(
        await governor
          .run({ user: 'ben' }, () => claude.messages.create(ask))
          .then(
            ({ type }) => type,
            (error) => (isHeadgateError(error) ? error.reason : String(error)),
          ),
      );
    await governor.close();
  }
  tell('sqlite', { outcomes });
} catch (error) {
  tell('sqlite', { failed: error.message });
}
process.exit(0);
