import { telemetry } from './telemetry.ts';

// After the telemetry, which must be there first.
const { default: Anthropic } = await import('@anthropic-ai/sdk');
const { createGovernor, logFields } = await import('@headgate/core');
const { headgate, headgateErrors } = await import('@headgate/express');
const { default: express } = await import('express');

// With a key it is Anthropic that answers; without one, a Claude API on loopback with small limits.
const api = process.env.ANTHROPIC_API_KEY === undefined ? await startApi() : undefined;
const client =
  api === undefined ? new Anthropic() : new Anthropic({ apiKey: 'any', authToken: null, baseURL: api.url });

async function startApi() {
  const { startClaudeApi } = await import('@headgate/testing');
  const models = ['claude-haiku-*'];
  const limits = { requestsPerMinute: 400, inputTokensPerMinute: 100_000, outputTokensPerMinute: 40_000 };
  return await startClaudeApi({ limits: [{ name: 'haiku', models, ...limits }] });
}

const governor = createGovernor({
  config: {
    quotas: [
      { name: 'free', when: { tier: 'free' }, requests: '6/minute' },
      { name: 'planned', when: { tier: 'paid' }, requests: '20/minute', shadow: true },
    ],
    caps: [{ when: { tier: 'free' }, maxTokens: 100 }],
  },
});
const claude = governor.govern(client);
const ask = (question: unknown) => ({
  model: 'claude-haiku-4-5',
  max_tokens: 300,
  messages: [{ role: 'user' as const, content: String(question ?? 'Say hello.') }],
});

const app = express();
app.use(express.json());
// A real app takes the user from its session: a header says whatever its sender likes.
app.use(headgate(governor, { caller: (req) => ({ user: req.get('x-user'), tier: req.get('x-tier') }) }));
app.post('/ask', async (req, res) => {
  res.json(await claude.messages.create(ask(req.body.question)));
  // One line with the trace in it: from here to Jaeger, and from there back.
  console.log(JSON.stringify({ message: 'answered', ...logFields() }));
});
app.post('/story', async (req, res) => {
  await headgate.events(res, claude.messages.create({ ...ask(req.body.question), stream: true }));
});
app.post('/nightly', headgate.route({ lane: 'background' }), async (req, res) => {
  res.json(await claude.messages.create(ask(req.body.question)));
});
app.use(headgateErrors());

const server = app.listen(Number(process.env.PORT ?? 3000), process.env.HOST ?? '127.0.0.1');
await new Promise((resolve) => server.once('listening', resolve));
const address = server.address();
const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : address}`;
console.log(url);

const stop = new AbortController();
if (process.env.LOAD !== '0') void import('./load.ts').then(({ makeLoad }) => makeLoad(url, stop.signal));
process.once('SIGTERM', async () => {
  stop.abort();
  server.close();
  await governor.close({ drainMs: 5_000 });
  await telemetry.shutdown();
  await api?.close();
  process.exit(0);
});
