import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import Anthropic, { APIError } from '@anthropic-ai/sdk';
import { createGovernor, loadConfig } from '@headgate/core';
import { userFromAddress } from '@headgate/core/http';
import { headgate } from '@headgate/koa';
import { bodyParser } from '@koa/bodyparser';
import Router from '@koa/router';
import Koa, { type Context } from 'koa';

const fileOf = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const governor = createGovernor({ config: await loadConfig(fileOf('../../headgate.yaml')) });
const claude = governor.govern(new Anthropic());
const page = await readFile(fileOf('../../page.html'), 'utf8');

const ask = ({ request }: Context, maxTokens: number) => {
  const { question = 'Say hello.' } = (request.body ?? {}) as { question?: string };
  return {
    model: 'claude-haiku-4-5',
    max_tokens: maxTokens,
    messages: [{ role: 'user' as const, content: question }],
  };
};

const router = new Router();

router.get('/', (ctx) => {
  ctx.type = 'html';
  ctx.body = page;
});

router.post('/chat', async (ctx) => {
  await headgate.events(ctx, claude.messages.create({ ...ask(ctx, 2048), stream: true }));
});

router.post('/ask', async (ctx) => {
  ctx.body = await claude.messages.create(ask(ctx, 512));
});

// Answers at once, and works on when there is room: what goes on after a response is left alone.
router.post('/jobs', headgate.route({ lane: 'background', maxTokens: 300 }), (ctx) => {
  claude.messages
    .create(ask(ctx, 300))
    .then(({ usage }) => console.log(`job done, ${usage.output_tokens} tokens`))
    .catch((error: unknown) => console.error(`job failed: ${String(error)}`));
  ctx.status = 202;
  ctx.body = { accepted: true };
});

// The API itself, for clients that speak it: governed, with our key. Put your own authentication before it.
router.post('/v1/messages', async (ctx) => {
  const body = ctx.request.body as Anthropic.MessageCreateParams;
  if (body.stream === true) await headgate.events(ctx, claude.messages.create(body));
  else ctx.body = await claude.messages.create(body);
});

const app = new Koa();
// What the API itself answers goes on as it came.
app.use(async (ctx, next) => {
  try {
    await next();
  } catch (error) {
    if (!(error instanceof APIError) || error.status === undefined || ctx.headerSent) throw error;
    ctx.status = error.status;
    ctx.body = error.error;
  }
});
app.use(bodyParser());
// Visitors are not signed in here, so one address is one user. Behind a proxy, set Koa's `app.proxy` first.
app.use(headgate(governor, { caller: (ctx) => ({ user: userFromAddress(ctx.ip) }), timeoutHeader: true }));
app.use(router.routes());

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
process.once('SIGTERM', () => {
  server.close();
  void governor.close({ drainMs: 10_000 });
});
