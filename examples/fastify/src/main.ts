import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import Anthropic, { APIError } from '@anthropic-ai/sdk';
import { createGovernor, loadConfig } from '@headgate/core';
import { userFromAddress } from '@headgate/core/http';
import headgate from '@headgate/fastify';
import Fastify from 'fastify';

const fileOf = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const governor = createGovernor({ config: await loadConfig(fileOf('../../headgate.yaml')) });
const claude = governor.govern(new Anthropic());
const page = await readFile(fileOf('../../page.html'), 'utf8');

interface Question {
  Body: { question?: string };
}
const ask = ({ question = 'Say hello.' }: Question['Body'], maxTokens: number) => ({
  model: 'claude-haiku-4-5',
  max_tokens: maxTokens,
  messages: [{ role: 'user' as const, content: question }],
});

const app = Fastify({ forceCloseConnections: 'idle' });
// What the API itself answers goes on as it came.
app.setErrorHandler((error, _request, reply) => {
  if (!(error instanceof APIError) || error.status === undefined || reply.sent) throw error;
  return reply.code(error.status).send(error.error);
});

await app.register(async (governed) => {
  // Visitors are not signed in here, so one address is one user. Behind a proxy, set Fastify's `trustProxy` first.
  const caller = (request: { ip: string }) => ({ user: userFromAddress(request.ip) });
  await governed.register(headgate, { governor, caller, timeoutHeader: true });

  governed.post<Question>('/chat', async (request, reply) =>
    reply.claudeEvents(claude.messages.create({ ...ask(request.body, 2048), stream: true })),
  );

  governed.post<Question>('/ask', async (request) => claude.messages.create(ask(request.body, 512)));

  // Answers at once, and works on when there is room: what goes on after a response is left alone.
  const background = { config: { headgate: { lane: 'background', maxTokens: 300 } } };
  governed.post<Question>('/jobs', background, async (request, reply) => {
    claude.messages
      .create(ask(request.body, 300))
      .then(({ usage }) => console.log(`job done, ${usage.output_tokens} tokens`))
      .catch((error: unknown) => console.error(`job failed: ${String(error)}`));
    return reply.code(202).send({ accepted: true });
  });

  // The API itself, for clients that speak it: governed, with our key. Put your own authentication before it.
  governed.post<{ Body: Anthropic.MessageCreateParams }>('/v1/messages', async ({ body }, reply) =>
    body.stream === true
      ? reply.claudeEvents(claude.messages.create(body))
      : reply.send(await claude.messages.create(body)),
  );
});

app.get('/', (_request, reply) => reply.type('text/html').send(page));

console.log(await app.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' }));
process.once('SIGTERM', () => {
  void app.close();
  void governor.close({ drainMs: 10_000 });
});
