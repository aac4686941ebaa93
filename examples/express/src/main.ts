import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import Anthropic, { APIError } from '@anthropic-ai/sdk';
import { createGovernor, loadConfig } from '@headgate/core';
import { userFromAddress } from '@headgate/core/http';
import { headgate, headgateErrors } from '@headgate/express';
import express, { type ErrorRequestHandler } from 'express';

const fileOf = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const governor = createGovernor({ config: await loadConfig(fileOf('../../headgate.yaml')) });
const claude = governor.govern(new Anthropic());

const ask = (question: unknown, maxTokens: number) => ({
  model: 'claude-haiku-4-5',
  max_tokens: maxTokens,
  messages: [{ role: 'user' as const, content: String(question ?? 'Say hello.') }],
});

const app = express();
app.use(express.json({ limit: '1mb' }));
// Visitors are not signed in here, so one address is one user. Behind a proxy, set Express's `trust proxy` first.
app.use(headgate(governor, { caller: (req) => ({ user: userFromAddress(req.ip) }), timeoutHeader: true }));

app.get('/', (_req, res) => res.sendFile(fileOf('../../page.html')));

app.post('/chat', async (req, res) => {
  await headgate.events(res, claude.messages.create({ ...ask(req.body.question, 2048), stream: true }));
});

app.post('/ask', async (req, res) => {
  res.json(await claude.messages.create(ask(req.body.question, 512)));
});

// Answers at once, and works on when there is room: what goes on after a response is left alone.
app.post('/jobs', headgate.route({ lane: 'background', maxTokens: 300 }), (req, res) => {
  claude.messages
    .create(ask(req.body.question, 300))
    .then(({ usage }) => console.log(`job done, ${usage.output_tokens} tokens`))
    .catch((error: unknown) => console.error(`job failed: ${String(error)}`));
  res.status(202).json({ accepted: true });
});

// The API itself, for clients that speak it: governed, with our key. Put your own authentication before it.
app.post('/v1/messages', async (req, res) => {
  const body: Anthropic.MessageCreateParams = req.body;
  if (body.stream === true) await headgate.events(res, claude.messages.create(body));
  else res.json(await claude.messages.create(body));
});

app.use(headgateErrors());
// What the API itself answers goes on as it came.
app.use(((error, _req, res, next) => {
  if (!(error instanceof APIError) || error.status === undefined || res.headersSent) return next(error);
  res.status(error.status).json(error.error);
}) satisfies ErrorRequestHandler);

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
});
process.once('SIGTERM', () => {
  server.close();
  void governor.close({ drainMs: 10_000 });
});
