import type Anthropic from '@anthropic-ai/sdk';
import type { Governor } from '@headgate/core';
import { CATALOGUE } from '@headgate/core/telemetry';
import type { ClaudeApi, MetricRecorder, RecordedSpan } from '@headgate/testing';
import { trace } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import { everything } from '../support/everything.ts';
import { ask, MODEL, pause, rejection, startGoverned } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';
import { finds, readQuestions } from './questions.ts';

const questions = readQuestions();

async function setUp(config = {}) {
  const telemetry = startTelemetry({ register: true });
  const governed = await startGoverned({
    config,
    governor: { meterProvider: telemetry.meterProvider, random: () => 0.5 },
  });
  return { ...governed, ...telemetry };
}

interface World {
  readonly governor: Governor;
  readonly claude: Anthropic;
  readonly api: ClaudeApi;
  readonly spans: { readonly spans: readonly RecordedSpan[] };
  readonly metrics: MetricRecorder;
  collect(): Promise<void>;
}

const admissions = ({ spans }: World) => spans.spans.filter(({ name }) => name === 'headgate.admission');
const attempts = ({ spans }: World) => spans.spans.filter(({ name }) => name === 'headgate.attempt');

/** One case for each question, in which the answer is known, and what the telemetry must say of it. */
const ANSWERS: Record<string, { config?: object; ask(world: World): Promise<void> }> = {
  'Why did this request take 9 s?': {
    async ask(world) {
      const { api, claude, governor } = world;
      const empty = { 'retry-after-ms': '300', 'anthropic-ratelimit-requests-remaining': '0' };
      api.inject({ kind: 'status', status: 429, headers: empty });
      api.inject({ kind: 'status', status: 529, when: () => api.received.length > 1 });
      await trace.getTracer('app').startActiveSpan('POST /chat', async (span) => {
        await governor.run({ user: 'ada' }, () => claude.messages.stream(ask()).finalMessage());
        span.end();
      });
      const [request] = world.spans.spans.filter(({ name }) => name === 'POST /chat');
      const parts = world.spans.spans.filter(({ name }) => name.startsWith('headgate.'));
      const took = (span: RecordedSpan | undefined) =>
        span === undefined ? 0 : span.endTime - span.startTime;
      // The parts follow one another, and nothing is between them: they are where the time has gone.
      expect(parts.length).toBe(8);
      const explained = parts.reduce((sum, part) => sum + took(part), 0);
      expect(explained / took(request)).toBeGreaterThan(0.9);
      expect(explained / took(request)).toBeLessThan(1.05);
      const waited = admissions(world).find(
        ({ attributes }) => attributes['headgate.reason'] === 'upstream_paused',
      );
      expect(took(waited)).toBeGreaterThan(250);
      expect(Number(waited?.attributes['headgate.queue.wait']) * 1_000).toBeCloseTo(took(waited), -2);
    },
  },
  'Why was this call refused, and when may it come back?': {
    config: { quotas: [{ name: 'hourly', requests: '2/hour', burst: 0.5 }] },
    async ask(world) {
      const call = () => world.governor.run({ user: 'ada' }, () => world.claude.messages.create(ask()));
      await call();
      const error = (await rejection(call())) as { retryAfterMs: number };
      const [, refused] = admissions(world);
      expect(refused?.attributes).toMatchObject({
        'headgate.decision': 'refuse',
        'headgate.reason': 'user_quota',
        'headgate.rule': 'hourly',
      });
      expect(Number(refused?.attributes['headgate.retry_after']) * 1_000).toBeCloseTo(error.retryAfterMs, 0);
      expect(error.retryAfterMs).toBeGreaterThan(1_700_000);
    },
  },
  'Who used up the quota?': {
    config: { quotas: [{ name: 'trial', per: 'all', requests: '5/hour' }] },
    async ask(world) {
      const call = (user: string) => world.governor.run({ user }, () => world.claude.messages.create(ask()));
      for (const user of ['ada', 'greedy', 'greedy', 'ben', 'greedy']) await call(user);
      const greedy = admissions(world)[1]?.attributes['headgate.user.hash'];
      await rejection(call('ada'));
      const refused = admissions(world).at(-1);
      expect(refused?.attributes['headgate.rule']).toBe('trial');
      const count = new Map<unknown, number>();
      for (const { attributes } of admissions(world).filter((span) => span !== refused)) {
        const user = attributes['headgate.user.hash'];
        count.set(user, (count.get(user) ?? 0) + 1);
      }
      const [most] = [...count].toSorted(([, a], [, b]) => b - a);
      expect(most).toEqual([greedy, 3]);
    },
  },
  'How close are we to the limit?': {
    config: {
      account: [{ name: 'sonnet-4', models: ['claude-sonnet-4-*'], requestsPerMinute: 60, burst: 1 }],
    },
    async ask(world) {
      await Promise.all(Array.from({ length: 20 }, () => world.claude.messages.create(ask())));
      await world.collect();
      const bucket = { 'headgate.bucket': 'sonnet-4' };
      const [shown] = world.governor.snapshot().buckets;
      const { level = 0, capacity = 0 } = shown?.limits.requests ?? {};
      const of = (what: string) => world.metrics.value(`headgate.ratelimit.requests.${what}`, bucket) ?? 0;
      expect(of('capacity')).toBe(capacity);
      // A request a second comes back while we look.
      expect(Math.abs(of('remaining') - level)).toBeLessThan(3);
      expect(of('remaining') / of('capacity')).toBeGreaterThan(0.6);
      expect(of('remaining') / of('capacity')).toBeLessThan(0.9);
      // What the API said itself, of its own and wider limit.
      expect(attempts(world)[0]?.attributes).toMatchObject({
        'headgate.ratelimit.requests.limit': 6_000,
        'headgate.ratelimit.requests.remaining': expect.any(Number),
      });
    },
  },
  'What would shadow rule `tried-out` have refused?': {
    config: { quotas: [{ name: 'tried-out', requests: '2/hour', shadow: true }] },
    async ask(world) {
      for (let i = 0; i < 5; i++)
        await world.governor.run({ user: 'ada' }, () => world.claude.messages.create(ask()));
      await world.collect();
      expect(world.metrics.value('headgate.shadow.refusals', { 'headgate.rule': 'tried-out' })).toBe(3);
      expect(
        admissions(world).map(({ attributes }) => attributes['headgate.shadow.rules'] !== undefined),
      ).toEqual([false, false, true, true, true]);
    },
  },
  'Did Anthropic refuse us, or did we?': {
    config: { quotas: [{ name: 'q', requests: '1/hour' }], retries: { maxAttempts: 1 } },
    async ask(world) {
      world.api.inject({ kind: 'status', status: 429 });
      await rejection(world.governor.run({ user: 'ada' }, () => world.claude.messages.create(ask())));
      const [theirs] = attempts(world);
      expect(theirs?.attributes['headgate.request_id']).toBe(world.api.ledger.entries[0]?.requestId);
      await world.governor.run({ user: 'ben' }, () => world.claude.messages.create(ask()));
      await rejection(world.governor.run({ user: 'ben' }, () => world.claude.messages.create(ask())));
      await world.collect();
      expect(world.metrics.value('headgate.attempts', { 'http.response.status_code': 429 })).toBe(1);
      expect(world.metrics.value('headgate.decisions', { 'headgate.decision': 'refuse' })).toBe(1);
      expect(world.api.ledger.count({ status: 429 })).toBe(1);
    },
  },
  'Is a model failing, and what is done about it?': {
    config: {
      account: [{ name: 'all', models: ['claude-*'], requestsPerMinute: 6_000 }],
      retries: { maxAttempts: 1 },
      fallbacks: { [MODEL]: ['claude-haiku-4-5'] },
    },
    async ask(world) {
      const failing = ({ body }: { body: unknown }) => (body as { model: string }).model === MODEL;
      world.api.inject({ kind: 'status', status: 529, times: Number.POSITIVE_INFINITY, when: failing });
      for (let i = 0; i < 21; i++) await world.claude.messages.create(ask());
      await world.collect();
      expect(world.metrics.value('headgate.breaker.open')).toBe(1);
      const opened = attempts(world).filter(
        ({ attributes }) => attributes['headgate.breaker.state'] === 'open',
      );
      expect(opened.map(({ attributes }) => attributes['headgate.model.sent'])).toEqual([MODEL]);
      expect(
        world.metrics.value('headgate.model.rerouted', {
          'headgate.model.cause': 'fallback',
          'headgate.model.sent': 'claude-haiku-4-5',
        }),
      ).toBe(21);
      // The last call was not even tried on the model that fails.
      expect(world.metrics.value('headgate.fallbacks', { 'headgate.reason': 'breaker_open' })).toBe(1);
    },
  },
  'What does it cost, and for whom?': {
    async ask(world) {
      const call = (tier: string) =>
        world.governor.run({ user: tier, tier }, () => world.claude.messages.create(ask()));
      for (const tier of ['free', 'paid', 'paid']) await call(tier);
      await world.collect();
      const { inputTokens, outputTokens } = world.api.ledger.totals();
      const total = (inputTokens * 3 + outputTokens * 15) / 1e6;
      const of = (tier: string) => world.metrics.value('headgate.cost', { 'headgate.tier': tier });
      expect(of('free')).toBeCloseTo(total / 3, 9);
      expect(of('paid')).toBeCloseTo((total * 2) / 3, 9);
      const spans = attempts(world).reduce(
        (sum, { attributes }) => sum + Number(attributes['headgate.cost']),
        0,
      );
      expect(spans).toBeCloseTo(total, 9);
    },
  },
  'Why is this answer cut short?': {
    config: { caps: [{ when: { tier: 'free' }, maxTokens: 20 }] },
    async ask(world) {
      const answer = await world.governor.run({ user: 'ada', tier: 'free' }, () =>
        world.claude.messages.create(ask()),
      );
      expect(answer.stop_reason).toBe('max_tokens');
      expect(admissions(world)[0]?.attributes).toMatchObject({
        'headgate.max_tokens.requested': 200,
        'headgate.max_tokens.granted': 20,
      });
      await world.collect();
      expect(world.metrics.value('headgate.max_tokens.clamped', { 'headgate.tier': 'free' })).toBe(1);
    },
  },
  'Why did another model answer?': {
    config: { routes: [{ when: { tier: 'free' }, model: 'claude-haiku-4-5' }] },
    async ask(world) {
      const answer = await world.governor.run({ user: 'ada', tier: 'free' }, () =>
        world.claude.messages.create(ask()),
      );
      expect(answer.model).toContain('haiku');
      expect(admissions(world)[0]?.attributes).toMatchObject({
        'headgate.model.requested': MODEL,
        'headgate.model.cause': 'route',
      });
    },
  },
};

describe('each question of the documentation is answered', () => {
  it('and there are ten, each with a case here and a search or a query', () => {
    const titles = questions.map(({ title }) => title.replace(/^\d+\. /, ''));
    expect(titles).toEqual(Object.keys(ANSWERS));
    expect(titles).toHaveLength(10);
    expect(questions.filter(({ searches, queries }) => searches.length + queries.length === 0)).toEqual([]);
  });

  for (const [title, { config = {}, ask: run }] of Object.entries(ANSWERS)) {
    it(title, async () => {
      await run(await setUp(config));
    });
  }
});

describe('the searches for spans', () => {
  const searches = questions.flatMap((question) => question.searches);

  it('speak of operations and tags that there are', () => {
    for (const { operation, tags } of searches) {
      const span = CATALOGUE.spans.find(({ name }) => name === operation);
      for (const tag of Object.keys(tags)) expect(span?.attributes, operation).toContain(tag);
    }
  });

  it('find something where everything happens, and nothing where all is well', async () => {
    const { spans, meterProvider } = startTelemetry({ register: true });
    await using _ = await everything({ meterProvider });
    const busy = [...spans.spans];
    spans.clear();
    const { governor, claude } = await startGoverned();
    await governor.run({ user: 'ada', tier: 'paid' }, () => claude.messages.create(ask()));
    await pause(10);
    for (const search of searches) {
      expect(
        busy.some((span) => finds(search, span)),
        JSON.stringify(search),
      ).toBe(true);
      expect(
        spans.spans.some((span) => finds(search, span)),
        JSON.stringify(search),
      ).toBe(false);
    }
  });
});
