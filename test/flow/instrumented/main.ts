import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, type Governor } from '@headgate/core';
import { ask } from '../../support/ask.ts';
import { spans } from './register.ts';

/** One app with a JSON route and a streamed one, in the framework named on the command line; prints its spans. */
const [framework = '', openTelemetry = 'true'] = process.argv.slice(2);
const USERS = ['ada', 'ben', 'eve'];

type Make = (governor: Governor, claude: Anthropic) => Promise<RequestListener>;

async function story(claude: Anthropic, write: (text: string) => void): Promise<void> {
  for await (const event of claude.messages.stream(ask())) {
    if (event.type === 'content_block_delta' && event.delta.type === 'text_delta') write(event.delta.text);
  }
}

const FRAMEWORKS: Record<string, Make> = {
  async express(governor, claude) {
    const [{ default: express }, { headgate }] = await Promise.all([
      import('express'),
      import('@headgate/express'),
    ]);
    const app = express();
    app.use(express.json(), headgate(governor, { caller: (req) => ({ user: req.get('x-user') }) }));
    app.post('/ask', async (_req, res) => void res.json(await claude.messages.create(ask())));
    app.post('/story', async (_req, res) => {
      await story(claude, (text) => void res.write(text));
      res.end();
    });
    return app;
  },
  async koa(governor, claude) {
    const [{ default: Koa }, { headgate }] = await Promise.all([import('koa'), import('@headgate/koa')]);
    const app = new Koa();
    app.use(headgate(governor, { caller: (ctx) => ({ user: ctx.get('x-user') }) }));
    app.use(async (ctx) => {
      if (ctx.path === '/ask') ctx.body = await claude.messages.create(ask());
      else {
        let text = '';
        await story(claude, (more) => {
          text += more;
        });
        ctx.body = text;
      }
    });
    return app.callback();
  },
  async fastify(governor, claude) {
    const [{ default: fastify }, { headgate }] = await Promise.all([
      import('fastify'),
      import('@headgate/fastify'),
    ]);
    const app = fastify();
    await app.register(headgate, { governor, caller: (req) => ({ user: String(req.headers['x-user']) }) });
    app.post('/ask', () => claude.messages.create(ask()));
    app.post('/story', async () => {
      let text = '';
      await story(claude, (more) => {
        text += more;
      });
      return text;
    });
    await app.ready();
    return app.routing;
  },
};

const make = FRAMEWORKS[framework];
if (make === undefined) throw new Error(`no framework "${framework}"`);
const governor = createGovernor({
  config: { account: [{ name: 'sonnet-4', models: ['claude-sonnet-4-*'], concurrency: 2 }] },
  logger: { info() {}, warn() {}, error() {} },
});
const claude = governor.govern(
  new Anthropic({
    apiKey: 'test-key',
    baseURL: process.env.API_URL ?? null,
    ...(openTelemetry === 'true' ? {} : { openTelemetry: false }),
  }),
);
const server = createServer(await make(governor, claude)).listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address() as AddressInfo;

async function call(path: string, user: string): Promise<void> {
  const headers = { 'content-type': 'application/json', 'x-user': user };
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method: 'POST', headers, body: '{}' });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path} of ${user}: ${response.status} ${text}`);
}
// All at once through two slots: what waits must come back to its own request.
await Promise.all(['/ask', '/story'].flatMap((path) => USERS.map((user) => call(path, user))));
await new Promise((resolve) => setTimeout(resolve, 100));
await governor.close({ drainMs: 1_000 });
process.stdout.write(JSON.stringify({ spans: spans.spans, open: spans.openNames() }), () => process.exit(0));
