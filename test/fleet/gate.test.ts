import Anthropic from '@anthropic-ai/sdk';
import {
  createGovernor,
  type Exchange,
  type Governor,
  memoryStore,
  type Store,
  systemClock,
} from '@headgate/core';
import { type ClaudeApi, manualClock, startClaudeApi } from '@headgate/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DegradedShare } from '../../packages/core/src/admission/fleet/degraded-share.ts';
import { pause, until } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

const quiet = { info() {}, warn() {}, error() {} };
const params = {
  model: 'claude-sonnet-4-6',
  max_tokens: 50,
  messages: [{ role: 'user' as const, content: 'hello' }],
};
const account = [{ name: 's', models: ['*'], requestsPerMinute: 6_000, burst: 0.1 }];

/** A store that fails, or is slow to answer, when it is told to. */
function faulty(store: Store, assumedProcesses = 4) {
  const said: Exchange[] = [];
  const faults = { isDown: false, delayMs: 0, said };
  const wrapped: Store = {
    ...store,
    assumedProcesses,
    async exchange(bucket, exchange) {
      said.push(exchange);
      if (faults.isDown) throw new Error('the store is down');
      const answer = await store.exchange(bucket, exchange);
      if (faults.delayMs > 0) await pause(faults.delayMs);
      // It was applied, and nobody was told.
      if (faults.isDown) throw new Error('the store went down');
      return answer;
    },
  };
  return { store: wrapped, faults };
}

describe('a process of a fleet', () => {
  let api: ClaudeApi;
  const governors: Governor[] = [];
  beforeEach(async () => {
    api = await startClaudeApi({ latency: { timeToFirstTokenMs: 5, tokensPerSecond: 5_000 } });
  });
  afterEach(async () => {
    for (const governor of governors.splice(0)) await governor.close({ drainMs: 100 });
    await api.close();
  });
  const start = (store: Store, config: object = {}, more: object = {}) => {
    const governor = createGovernor({ config: { account, ...config }, store, logger: quiet, ...more });
    governors.push(governor);
    const claude = governor.govern(new Anthropic({ apiKey: 'k', baseURL: api.url }));
    const ask = (user = 'anna') => governor.run({ user }, () => claude.messages.create(params));
    return { governor, claude, ask };
  };
  const modeOf = (governor: Governor) => governor.snapshot().buckets[0]?.fleet?.mode;

  it('starts without its store, with the share of one of those that are assumed', async () => {
    const memory = memoryStore();
    const config = { quotas: [{ name: 'daily', requests: '20/day' }] };
    const fleet = [0, 1, 2, 3].map(() => {
      const { store, faults } = faulty(memory);
      faults.isDown = true;
      return start(store, config);
    });
    const outcomes = await Promise.allSettled(
      fleet.flatMap(({ ask }) => Array.from({ length: 10 }, () => ask())),
    );
    // Also calls of the first moment, which came before anybody knew that the store is not there.
    const answeredOf = (all: PromiseSettledResult<unknown>[]) =>
      all.filter(({ status }) => status === 'fulfilled').length;
    expect(answeredOf(outcomes)).toBe(16);
    expect(fleet.map(({ governor }) => modeOf(governor))).toEqual(new Array(4).fill('degraded'));
    const later = await Promise.allSettled(
      fleet.flatMap(({ ask }) => Array.from({ length: 10 }, () => ask('ben'))),
    );
    // A fifth of twenty for each of four: 0.8 of it in all.
    expect(answeredOf(later)).toBe(16);
  });

  it('lets calls that wait when its store is lost go by its share alone, in their order', async () => {
    const memory = memoryStore();
    const { store, faults } = faulty(memory, 1);
    const config = {
      account: [{ ...account[0], concurrency: 2 }],
      lanes: { interactive: { maxWait: '1m' } },
      quotas: [
        { name: 'slots', when: { user: 's' }, concurrency: 2, onExceed: 'wait' },
        { name: 'requests', when: { user: 'r' }, requests: '10/day' },
      ],
    };
    const { governor, ask } = start(store, config);
    await ask();
    let running = 0;
    let most = 0;
    const ends: string[] = [];
    const call = (user: string, n: number) =>
      ask(user).then(
        () => ends.push(`${user}${n}`),
        (error: { reason?: string }) => ends.push(`${user}${n} ${error.reason}`),
      );
    const look = setInterval(() => {
      running = governor.snapshot().inFlight;
      most = Math.max(most, running);
    }, 2);
    faults.isDown = true;
    const calls = Array.from({ length: 12 }, (_, n) => [call('r', n), call('s', n)]).flat();
    await until(() => modeOf(governor) === 'degraded');
    await Promise.all(calls);
    clearInterval(look);
    const of = (user: string) => ends.filter((end) => end.startsWith(user) && !end.includes(' '));
    // Eight tenths of ten, the first that came.
    expect(of('r')).toEqual(Array.from({ length: 8 }, (_, n) => `r${n}`));
    expect(ends.filter((end) => end.endsWith('user_quota'))).toHaveLength(4);
    expect(of('s')).toEqual(Array.from({ length: 12 }, (_, n) => `s${n}`));
    // One at a time is 0.8 of two, of the account as of the quota.
    expect(most).toBe(1);
  });

  it('gives the smallest share that any bucket without its ledger has', () => {
    const shares: number[] = [];
    const share = new DegradedShare((each) => shares.push(each));
    share.degraded('a', 0.2);
    share.degraded('b', 0.1);
    share.ended('b');
    share.ended('a');
    share.ended('a');
    expect(shares).toEqual([0.2, 0.1, 0.2, 1]);
  });

  it('gives the whole quota again when an account went that was without its ledger', async () => {
    const { store, faults } = faulty(memoryStore(), 4);
    const config = { account, quotas: [{ name: 'daily', requests: '20/day' }] };
    const other = [{ name: 'o', models: ['*'], requestsPerMinute: 6_000, burst: 0.1 }];
    const { governor, ask } = start(store, { ...config, accounts: { other } });
    const client = governor.govern(new Anthropic({ apiKey: 'k', baseURL: api.url }), { account: 'other' });
    faults.isDown = true;
    await Promise.all([ask('warm'), governor.run({ user: 'b' }, () => client.messages.create(params))]);
    governor.update(config);
    faults.isDown = false;
    await until(() => modeOf(governor) === 'shared', 10_000);
    const outcomes = await Promise.allSettled(Array.from({ length: 30 }, () => ask('anna')));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(20);
  });

  it('lets a call go without its store that is larger than its share of a minute', async () => {
    const { store, faults } = faulty(memoryStore());
    const { governor, claude } = start(store, {
      account: [{ name: 's', models: ['*'], inputTokensPerMinute: 20_000, burst: 0.1 }],
    });
    faults.isDown = true;
    const large = { ...params, messages: [{ role: 'user' as const, content: 'word '.repeat(8_000) }] };
    await governor.run({ user: 'anna' }, () => claude.messages.create(large));
    expect(modeOf(governor)).toBe('degraded');
    const larger = { ...params, messages: [{ role: 'user' as const, content: 'word '.repeat(50_000) }] };
    const refused = governor.run({ user: 'anna' }, () => claude.messages.create(larger));
    await expect(refused).rejects.toThrow();
  });

  it('goes on without it, tells so, and is back when it is', async () => {
    const telemetry = startTelemetry();
    const { store, faults } = faulty(memoryStore(), 1);
    const { governor, ask } = start(
      store,
      {},
      {
        tracerProvider: telemetry.tracerProvider,
        meterProvider: telemetry.meterProvider,
      },
    );
    await ask();
    expect(modeOf(governor)).toBe('shared');
    faults.isDown = true;
    await ask();
    expect(modeOf(governor)).toBe('degraded');
    await ask();
    faults.isDown = false;
    await until(() => modeOf(governor) === 'shared', 10_000);
    await ask();
    const modes = telemetry.spans.spans
      .filter(({ name }) => name === 'headgate.admission')
      .map(({ attributes }) => attributes['headgate.mode']);
    expect(modes).toEqual(['shared', 'degraded', 'degraded', 'shared']);
    await telemetry.collect();
    expect(telemetry.metrics.value('headgate.store.moves', { 'headgate.mode': 'degraded' })).toBe(1);
    expect(telemetry.metrics.value('headgate.store.moves', { 'headgate.mode': 'shared' })).toBe(1);
    expect(telemetry.metrics.value('headgate.store.shared')).toBe(1);
  });

  it.each([-86_400_000, 86_400_000])(
    'whose clock is off by %d ms counts in the day of the ledger',
    async (offMs) => {
      const memory = memoryStore();
      const config = { quotas: [{ name: 'daily', requests: '5/day' }] };
      const clock = { ...systemClock, wall: () => Date.now() + offMs };
      const { ask } = start(memory, config, { clock });
      // The first of all: nobody has told it yet what day it is.
      expect((await Promise.allSettled([ask(), ask(), ask()])).map(({ status }) => status)).toEqual(
        new Array(3).fill('fulfilled'),
      );
      const other = start(memory, config);
      const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => other.ask()));
      expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBe(2);
      expect(api.ledger.totals().attempts).toBe(5);
    },
  );

  it('says a message again, word for word, that was applied and not answered', async () => {
    const memory = memoryStore();
    const { store, faults } = faulty(memory, 1);
    const config = { quotas: [{ name: 'daily', requests: '10/day' }] };
    const { governor, ask } = start(store, config);
    await ask();
    faults.delayMs = 30;
    const asked = ask();
    await pause(10);
    faults.isDown = true;
    await asked;
    faults.isDown = false;
    faults.delayMs = 0;
    await until(() => modeOf(governor) === 'shared', 10_000);
    // The grant that nobody heard of has been given back, and what went instead was charged: two in all.
    await pause(500);
    const other = start(memory, config);
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => other.ask()));
    expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBe(8);
  });

  it('gives back what was granted to a call that had left', async () => {
    const memory = memoryStore();
    const { store, faults } = faulty(memory, 1);
    const config = { quotas: [{ name: 'daily', requests: '10/day', concurrency: 5 }] };
    const { governor, claude } = start(store, config);
    faults.delayMs = 50;
    for (let n = 0; n < 5; n++) {
      const controller = new AbortController();
      const asked = governor.run({ user: 'anna' }, () =>
        claude.messages.create(params, { signal: controller.signal }),
      );
      setTimeout(() => controller.abort(), 20);
      await expect(asked).rejects.toThrow();
    }
    faults.delayMs = 0;
    await pause(1_000);
    expect(api.ledger.totals().attempts).toBe(0);
    const { ask } = start(memory, config);
    let answered = 0;
    for (let n = 0; n < 12; n++)
      await ask().then(
        () => answered++,
        () => {},
      );
    expect(answered).toBe(10);
  });

  it('asks for the next call of a user as soon as one may go, whatever is reserved for those behind', async () => {
    // Time stands still: no timer asks in its place.
    const clock = manualClock();
    const config = { quotas: [{ name: 'slots', concurrency: 20 }] };
    const { ask } = start(memoryStore({ clock }), config, { clock });
    await Promise.all(Array.from({ length: 6 }, () => ask()));
  });

  it('refuses a call behind others as it comes, when a quota of its user is used up', async () => {
    const memory = memoryStore();
    const config = {
      account: [{ name: 's', models: ['*'], requestsPerMinute: 60, burst: 1 / 60, concurrency: 1 }],
      quotas: [{ name: 'daily', requests: '3/day' }],
    };
    const [one, other] = [start(memory, config), start(memory, config)];
    const outcomes: string[] = [];
    const settle = (call: Promise<unknown>) =>
      call.then(
        () => outcomes.push('answered'),
        (error: { code?: string }) => outcomes.push(error.code ?? 'error'),
      );
    const calls = [one, other, one, other, one, other].map(({ ask }) => settle(ask()));
    await until(() => outcomes.filter((outcome) => outcome === 'quota_exceeded').length === 3, 3_000);
    // Three wait or run: their quotas are theirs, though the account lets one go in a second.
    expect(outcomes.filter((outcome) => outcome === 'answered').length).toBeLessThan(3);
    await Promise.all(calls);
    expect(outcomes.filter((outcome) => outcome === 'answered').length).toBe(3);
  });
});
