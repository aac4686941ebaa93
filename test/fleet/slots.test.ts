import Anthropic from '@anthropic-ai/sdk';
import { type ConfigInput, createGovernor, memoryStore, type Store } from '@headgate/core';
import { manualClock } from '@headgate/testing';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ANSWER, ask } from '../support/ask.ts';

const AMPLE = { name: 's', models: ['*'], requestsPerMinute: 60_000, inputTokensPerMinute: 10_000_000 };
const bucket = (concurrency: number): ConfigInput => ({ account: [{ ...AMPLE, concurrency }] });
const quota = (onExceed: 'wait' | 'refuse', concurrency = 1): ConfigInput => ({
  account: [AMPLE],
  quotas: [{ name: 'slots', per: 'user', concurrency, onExceed }],
});

/**
 * Processes of one fleet on a clock that stands still, and an API whose answers come when they are told to. The store
 * applies a message at once and replies `replyMs` later.
 */
function startFleet(processes: number, config: ConfigInput, replyMs = 0) {
  const clock = manualClock(undefined, { turns: 8 });
  const memory = memoryStore({ clock });
  let messages = 0;
  const store: Store = {
    ...memory,
    async exchange(...said) {
      messages++;
      const answer = await memory.exchange(...said);
      if (replyMs > 0) await new Promise<void>((resolve) => clock.after(replyMs, resolve));
      return answer;
    },
  };
  const running: { name: string; answer: () => void }[] = [];
  const governors = Array.from({ length: processes }, () =>
    createGovernor({ config, store, clock, logger: { info() {}, warn() {}, error() {} } }),
  );
  onTestFinished(async () => {
    const closing = Promise.all(governors.map((governor) => governor.close({ drainMs: 0 })));
    await clock.advance(10);
    await closing;
  });
  const clients = governors.map((governor) =>
    governor.govern(
      new Anthropic({
        apiKey: 'k',
        fetch: (_url, init) => {
          const name = String(new Headers(init?.headers).get('x-call'));
          const { promise, resolve } = Promise.withResolvers<Response>();
          const answer = () => resolve(Response.json(ANSWER));
          running.push({ name, answer });
          return promise;
        },
      }),
    ),
  );
  return {
    clock,
    running,
    get messages() {
      return messages;
    },
    /** A call of process `at`. */
    call(at: number, user: string, name: string, signal?: AbortSignal) {
      const asked = governors[at]?.run({ user, signal }, () =>
        clients[at]?.messages.create(ask(), { headers: { 'x-call': name } }),
      );
      return Promise.resolve(asked).then(
        () => 'answered',
        (error: { reason?: string }) => error.reason,
      );
    },
    /** The first call that runs is answered: how many milliseconds later the next one starts, and which. */
    async next(waitMs = 2_000) {
      const before = running.shift();
      const others = running.length;
      const endedAt = clock.now();
      before?.answer();
      while (running.length <= others && clock.now() < endedAt + waitMs) await clock.advance(1);
      return { ms: clock.now() - endedAt, name: running.at(-1)?.name };
    },
  };
}

/** `slot 0` runs, the rest wait: in which process each call is made, and by whom. */
const SCENES: Record<string, { config: ConfigInput; calls: [process: number, user: string][]; was: string }> =
  {
    'of a bucket, all in one process': {
      config: bucket(1),
      calls: [0, 1, 2, 3, 4].map((n) => [0, `u${n}`]),
      was: '400 ms',
    },
    'of a bucket, held by one process and waited for in another': {
      config: bucket(1),
      calls: [0, 1, 0, 1].map((at, n) => [at, `u${n}`]),
      was: '400 ms',
    },
    'of a bucket with several': {
      config: bucket(3),
      calls: [0, 0, 0, 1, 2, 1, 2].map((at, n) => [at, `u${n}`]),
      was: '400 ms',
    },
    'of a bucket with several, all held by one process and waited for in another': {
      config: bucket(2),
      calls: [0, 0, 1, 1, 1, 1].map((at, n) => [at, `u${n}`]),
      was: 'up to 1 s',
    },
    'of a quota that waits, all in one process': {
      config: quota('wait'),
      calls: [0, 0, 0].map((at) => [at, 'ada']),
      was: '1 ms',
    },
    'of a quota that waits, held by one process and waited for in another': {
      config: quota('wait'),
      calls: [0, 1, 2].map((at) => [at, 'ada']),
      was: 'up to 1.4 s',
    },
    'of a quota that waits, with more calls parked where it was held': {
      config: quota('wait', 2),
      calls: [0, 0, 0, 1, 1, 0].map((at) => [at, 'ada']),
      was: 'up to 1 s at the end',
    },
  };

describe('a slot that a call leaves', () => {
  for (const [name, { config, calls, was }] of Object.entries(SCENES)) {
    it.each([
      ['', 0],
      [', with replies of the store that take 2 ms', 2],
    ])(`${name}, is taken within 10 ms (${was} until 0.2)%s`, async (_, replyMs) => {
      const processes = Math.max(...calls.map(([at]) => at)) + 1;
      const fleet = startFleet(processes, config, replyMs);
      const outcomes: Promise<string | undefined>[] = [];
      for (const [n, [at, user]] of calls.entries()) {
        outcomes.push(fleet.call(at, user, `call ${n}`));
        await fleet.clock.advance(5);
      }
      await fleet.clock.advance(600);
      const atOnce = fleet.running.length;
      expect(atOnce).toBeLessThan(calls.length);
      const before = fleet.messages;
      for (let left = calls.length - atOnce; left > 0; left--) {
        const { ms, name } = await fleet.next();
        expect(ms, `${name}`).toBeLessThanOrEqual(10);
        expect(fleet.running).toHaveLength(atOnce);
      }
      // The end of one and the start of the next: in one message, or in one for each process that waits.
      expect(fleet.messages - before).toBeLessThanOrEqual((calls.length - atOnce) * (processes + 1));
      for (const { answer } of fleet.running.splice(0)) answer();
      await fleet.clock.advance(10);
      expect(await Promise.all(outcomes)).toEqual(calls.map(() => 'answered'));
    });
  }

  it('of a quota that refuses, is free in every process within 10 ms (400 ms until 0.2)', async () => {
    const fleet = startFleet(2, quota('refuse'));
    const first = fleet.call(0, 'ada', 'first');
    await fleet.clock.advance(600);
    expect(await fleet.call(1, 'ada', 'too early')).toBe('concurrency');
    fleet.running.shift()?.answer();
    await fleet.clock.advance(10);
    expect(await first).toBe('answered');
    const second = fleet.call(1, 'ada', 'second');
    await fleet.clock.advance(10);
    fleet.running.shift()?.answer();
    await fleet.clock.advance(10);
    expect(await second).toBe('answered');
  });

  it('is taken at once where it came free while a message of who waits was under way (1 s until 0.2)', async () => {
    const fleet = startFleet(2, bucket(2), 5);
    const calls = [fleet.call(0, 'a', 'a'), fleet.call(1, 'b', 'b')];
    await fleet.clock.advance(20);
    calls.push(fleet.call(1, 'c', 'c'), fleet.call(1, 'd', 'd'));
    await fleet.clock.advance(600);
    const [a, b] = ['a', 'b'].map((name) => fleet.running.find((each) => each.name === name));
    fleet.running.length = 0;
    b?.answer();
    await fleet.clock.advance(2);
    expect(fleet.running).toHaveLength(0);
    a?.answer();
    await fleet.clock.advance(20);
    expect(fleet.running.map(({ name }) => name)).toEqual(['c', 'd']);
    for (const { answer } of fleet.running) answer();
    await fleet.clock.advance(20);
    expect(await Promise.all(calls)).toEqual(['answered', 'answered', 'answered', 'answered']);
  });

  it('goes to the next process where the first that waited has left meanwhile', async () => {
    const fleet = startFleet(3, bucket(1));
    const hangUp = new AbortController();
    const calls = [fleet.call(0, 'u0', 'runs')];
    await fleet.clock.advance(5);
    calls.push(fleet.call(1, 'u1', 'leaves', hangUp.signal));
    await fleet.clock.advance(5);
    calls.push(fleet.call(2, 'u2', 'stays'));
    await fleet.clock.advance(600);
    hangUp.abort();
    const { ms, name } = await fleet.next();
    expect({ name, isSoon: ms <= 10 }).toEqual({ name: 'stays', isSoon: true });
    fleet.running.shift()?.answer();
    await fleet.clock.advance(10);
    expect(await Promise.all(calls)).toEqual(['answered', 'aborted', 'answered']);
  });
});
