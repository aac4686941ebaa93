import Anthropic from '@anthropic-ai/sdk';
import {
  type Caller,
  type ConfigInput,
  createGovernor,
  type Governor,
  type GovernorOptions,
} from '@headgate/core';
import { type ClaudeApi, startClaudeApi } from '@headgate/testing';
import { ask, pause, rejection } from './governed.ts';

const CONFIG = {
  account: [
    {
      name: 'sonnet',
      models: ['claude-sonnet-*'],
      requestsPerMinute: 6_000,
      inputTokensPerMinute: 2_000_000,
      outputTokensPerMinute: 400_000,
      burst: 0.1,
      concurrency: 50,
    },
    { name: 'haiku', models: ['claude-haiku-*'], requestsPerMinute: 6_000, burst: 0.1 },
    { name: 'opus', models: ['claude-opus-*'], requestsPerMinute: 60_000, burst: 0.1 },
  ],
  quotas: [
    { name: 'trial', when: { tier: 'trial' }, requests: '1/minute' },
    { name: 'tried-out', when: { tier: 'shadow' }, requests: '1/hour', shadow: true },
    { name: 'daily', when: { tier: 'paid' }, requests: '1000/day' },
  ],
  caps: [{ when: { tier: 'free' }, maxTokens: 100 }],
  routes: [{ when: { tier: 'saver' }, model: 'claude-haiku-4-5' }],
  fallbacks: { 'claude-sonnet-5': ['claude-haiku-4-5'], 'claude-opus-4-8': ['claude-haiku-4-5'] },
  retries: { maxAttempts: 2, maxDelay: '5ms' },
  // Past its soft share with the first dear call, and only told.
  budgets: [{ name: 'team', usd: '0.01/day', soft: 0.01, hard: false }],
  batch: { requestsPerMinute: 6_000, maxAge: '10ms', poll: { first: '20ms', most: '50ms' } },
} satisfies ConfigInput;

const broken = () => {
  throw new Error('the store is down');
};
const LONG = 'The lock keeper reads the gauge before the gate moves. '.repeat(200);

export interface Everything extends AsyncDisposable {
  readonly governor: Governor;
  readonly api: ClaudeApi;
}

/** Every decision, outcome and trouble that there is telemetry for, once at least, in about two seconds. */
export async function everything(
  telemetry: Pick<GovernorOptions, 'tracerProvider' | 'meterProvider'> & {
    config?: ConfigInput['telemetry'];
    /** Of the API; left out, a free one. */
    port?: number;
  } = {},
): Promise<Everything> {
  const { config, port = 0, ...providers } = telemetry;
  const api = await startClaudeApi({
    port,
    batches: { durationMs: 20 },
    latency: { timeToFirstTokenMs: 5, tokensPerSecond: 4_000, flushMs: 3 },
    output: (request) =>
      'thinking' in request ? { tokens: 60, thinkingTokens: 20 } : request.max_tokens > 500 ? 400 : 60,
  });
  const governor = createGovernor({
    ...providers,
    config: { ...CONFIG, ...(config === undefined ? {} : { telemetry: config }) },
    store: { get: broken, set: broken, flush: broken, close: broken },
    logger: { info() {}, warn() {}, error() {} },
    random: () => 0.5,
  });
  const bare = new Anthropic({ apiKey: 'test-key', baseURL: api.url });
  const claude = governor.govern(bare);
  const as = (caller: Caller, fn: () => Promise<unknown>) => governor.run({ user: 'ada', ...caller }, fn);
  const failing = (times: number, model?: string) =>
    api.inject({
      kind: 'status',
      status: 529,
      times,
      ...(model === undefined ? {} : { when: ({ body }) => (body as { model?: string }).model === model }),
    });

  await as({ tier: 'free', route: '/chat', labels: { team: 'blue' } }, () => claude.messages.create(ask()));
  await as({ tier: 'paid' }, () => claude.messages.create(ask()));
  // Of the days when models had such settings: the SDK has forgotten them, and the API refuses them.
  const old = { temperature: 0.5, top_p: 0.9, top_k: 5 };
  await rejection(as({}, () => claude.messages.create({ ...ask(), ...old })));
  await as({ lane: 'background' }, () =>
    claude.messages.stream(ask('x', { max_tokens: 1_000 })).finalMessage(),
  );
  const cached = {
    system: [{ type: 'text' as const, text: LONG, cache_control: { type: 'ephemeral' as const } }],
  };
  for (let i = 0; i < 2; i++) await as({}, () => claude.messages.create(ask('x', cached)));
  await as({}, () =>
    claude.messages.create(
      ask('think', { max_tokens: 2_000, thinking: { type: 'enabled', budget_tokens: 1_024 } }),
    ),
  );
  await as({ tier: 'saver' }, () => claude.messages.create(ask()));
  for (let i = 0; i < 2; i++) await as({ tier: 'shadow' }, () => claude.messages.create(ask()));
  for (let i = 0; i < 2; i++)
    await as({ tier: 'trial' }, () => claude.messages.create(ask())).catch(() => {});
  await claude.messages.create(ask());
  await as({}, () => claude.messages.create({ ...ask(), metadata: { user_id: 'another' } }));
  await claude.models.list();
  await rejection(as({}, () => claude.messages.create(ask('x', { model: 'claude-of-tomorrow' }))));
  await as({ tier: 'paid' }, () => claude.messages.create(ask('x', { model: 'claude-fable-5' })));

  failing(1);
  await as({}, () => claude.messages.create(ask()));
  // Of a bucket of its own: such a 429 slows the growth of its use for a while.
  api.inject({ kind: 'status', status: 429, headers: { 'retry-after-ms': '40' } });
  await as({}, () => claude.messages.create(ask('x', { model: 'claude-opus-5' })));
  // Failures of many models, none of which has enough for its breaker, until the retry budget is spent.
  const down = api.inject({ kind: 'status', status: 500, times: Number.POSITIVE_INFINITY });
  for (const model of ['claude-haiku-4-5', 'claude-haiku-5-5', 'claude-sonnet-5-5']) {
    for (let i = 0; i < 6; i++) await rejection(as({}, () => claude.messages.create(ask('x', { model }))));
  }
  down();
  // Until its breaker opens, each call goes on to the fallback for what it was answered; then for that.
  const end = failing(Number.POSITIVE_INFINITY, 'claude-sonnet-5');
  const next = ask('x', { model: 'claude-sonnet-5' });
  for (let i = 0; i < 22; i++) await as({ tier: 'paid' }, () => claude.messages.create(next));
  await rejection(as({ fallback: false }, () => claude.messages.create(next)));
  end();
  // The second call goes to the fallback by the evidence of the first.
  api.inject({ kind: 'status', status: 404, message: 'model: claude-opus-4-8' });
  for (let i = 0; i < 2; i++)
    await as({}, () => claude.messages.create(ask('x', { model: 'claude-opus-4-8' })));
  api.inject({ kind: 'status', status: 429, errorCode: 'enforced_spend_limit_reached' });
  await rejection(as({}, () => claude.messages.create(ask())));
  await rejection(as({}, () => claude.messages.create(ask())));
  governor.reset();

  const caller = { user: 'ada', tier: 'paid', route: '/report', lane: 'background' };
  await (await governor.batches(bare).submit(ask(), { caller })).result();

  // A caller who leaves while the answer is awaited.
  const leaving = new AbortController();
  const left = rejection(as({}, () => claude.messages.create(ask(), { signal: leaving.signal })));
  const { length } = api.received;
  while (api.received.length === length) await pause(1);
  leaving.abort();
  await left;

  governor.update({ ...CONFIG, telemetry: { ...config, user: 'raw' } });
  try {
    governor.update({ lanes: {} });
  } catch {}
  await as({}, () => claude.messages.create(ask()));
  await as({}, () => claude.messages.create(ask('x', { model: 'claude-haiku-4-5' })));
  await pause(20);
  return {
    governor,
    api,
    async [Symbol.asyncDispose]() {
      await governor.close({ drainMs: 0 });
      await api.close();
    },
  };
}
