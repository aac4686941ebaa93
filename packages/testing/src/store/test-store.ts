import { deepEqual, equal, ok } from 'node:assert/strict';
import type { Store, Wake } from '@headgate/core';
import { dayQuota, grantedOf, Peer } from './exchanges.ts';

export interface TestStoreOptions {
  /** Of the test runner: called once for each check. */
  readonly it: (name: string, check: () => Promise<void>) => unknown;
  /** A store with nothing in it that the checks would meet. */
  readonly create: () => Store | Promise<Store>;
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

const LIMITS = { requests: 600, inputTokens: 60_000, outputTokens: 60_000, burst: 0.1 };

/**
 * What every store of a fleet has to do, as checks for any test runner: `testStore({ it, create })`. They run on the
 * store's own time, and take some seconds.
 */
export function testStore({ it, create }: TestStoreOptions): void {
  let next = 0;
  const check = (
    name: string,
    run: (fleet: { store: Store; peer: (name?: string) => Peer }) => Promise<void>,
  ) =>
    it(name, async () => {
      const store = await create();
      const bucket = `bucket ${next++}`;
      let peers = 0;
      try {
        await run({ store, peer: (own) => new Peer(store, bucket, own ?? `${bucket} peer ${peers++}`) });
      } finally {
        await store.close();
      }
    });

  check('admits what fits and nothing more', async ({ peer }) => {
    const one = peer();
    const answer = await one.tell({
      limits: LIMITS,
      candidates: Array.from({ length: 100 }, () => one.call()),
    });
    const granted = grantedOf(answer);
    const capacity = LIMITS.requests * LIMITS.burst;
    ok(granted > 0 && granted <= capacity, `${granted} of a bucket of ${capacity}`);
    const waits = answer.results.filter((result) => result.type === 'waits');
    equal(granted + waits.length, 100);
    const first = waits[0];
    ok(first?.type === 'waits' && first.reason === 'requests_per_minute' && (first.waitMs ?? 0) > 0);
  });

  check('applies a message once, however often it is said', async ({ peer }) => {
    const one = peer();
    const first = await one.tell({ limits: LIMITS, candidates: [one.call()] });
    deepEqual(await one.again(), first);
    deepEqual(await one.again(), first);
    const { levels } = await peer().tell();
    const { levels: before } = first;
    const taken = (before.requests?.level ?? 0) - (levels.requests?.level ?? 0);
    ok(taken <= 0, `a message said again has taken ${taken}`);
  });

  check('counts calls at once over all processes', async ({ peer }) => {
    const peers = [peer(), peer(), peer(), peer()];
    const limits = { ...LIMITS, concurrency: 5 };
    const answers = await Promise.all(
      peers.map((each) => each.tell({ limits, candidates: [each.call(), each.call(), each.call()] })),
    );
    equal(
      answers.reduce((sum, answer) => sum + grantedOf(answer), 0),
      5,
    );
    const waits = answers.flatMap(({ results }) => results.filter((result) => result.type === 'waits'));
    ok(waits.some((result) => result.type === 'waits' && result.reason === 'concurrency'));
  });

  check('gives a quota once, whoever asks', async ({ peer }) => {
    const peers = [peer(), peer(), peer(), peer()];
    const { now } = await (peers[0] as Peer).tell({ limits: LIMITS });
    const key = `quota ${now}`;
    let granted = 0;
    let refused = 0;
    await Promise.all(
      peers.map(async (each) => {
        for (let n = 0; n < 10; n++) {
          const answer = await each.tell({ candidates: [each.call({ quotas: [dayQuota(key, 10, now)] })] });
          granted += grantedOf(answer);
          refused += answer.results.filter(({ type }) => type === 'exceeded').length;
        }
      }),
    );
    deepEqual([granted, refused], [10, 30]);
  });

  check('takes nothing of any quota for a call that one of them refuses', async ({ peer }) => {
    const one = peer();
    const { now } = await one.tell({ limits: LIMITS });
    const open = dayQuota(`open ${now}`, 1, now);
    const shut = dayQuota(`shut ${now}`, 0.5, now);
    const refusal = await one.tell({ candidates: [one.call({ quotas: [open, shut] })] });
    const [result] = refusal.results;
    ok(result?.type === 'exceeded' && result.quota === 1 && result.waitMs === -1);
    equal(grantedOf(await one.tell({ candidates: [one.call({ quotas: [open] })] })), 1);
  });

  check('reserves the quotas of a call that waits, and gives them back when it leaves', async ({ peer }) => {
    const one = peer();
    const other = peer();
    const { now } = await one.tell({ limits: LIMITS });
    const ask = dayQuota(`reserved ${now}`, 1, now);
    const reserved = await one.tell({ reserve: [{ id: 900, quotas: [ask] }] });
    equal(reserved.results[0]?.type, 'waits');
    const refused = await other.tell({ candidates: [other.call({ quotas: [ask] })] });
    equal(refused.results[0]?.type, 'exceeded');
    await one.tell({
      quotas: [{ key: ask.key, slots: -1, meters: [{ name: 'requests', released: 1, used: 0, at: 0 }] }],
    });
    equal(grantedOf(await other.tell({ candidates: [other.call({ quotas: [ask] })] })), 1);
  });

  check('charges what processes say that they have used, and holds what they hold', async ({ peer }) => {
    const one = peer();
    const before = await one.tell({ limits: LIMITS });
    const after = await one.tell({
      charges: { requests: 1, inputTokens: 1_000, outputTokens: 500 },
      holds: { inputTokens: 700, calls: 2, variance: 0 },
    });
    const fell = (before.levels.inputTokens?.level ?? 0) - (after.levels.inputTokens?.level ?? 0);
    const refill = ((after.now - before.now) * LIMITS.inputTokens) / 60_000;
    ok(Math.abs(fell + refill - 1_700) < 5, `the level fell by ${fell}, and ${refill} came back`);
    equal(after.calls, 2);
  });

  check('holds of a limit that is told later what calls in flight hold', async ({ peer }) => {
    const one = peer();
    const other = peer();
    const held = (inputTokens: number) => ({ holds: { inputTokens, calls: 1, variance: 0 } });
    await one.tell({ limits: { requests: 600, burst: 0.1 }, ...held(700) });
    const told = await other.tell({ limits: { ...LIMITS, burst: 0.1 }, ...held(200) });
    equal(Math.round(told.levels.inputTokens?.level ?? 0), LIMITS.inputTokens * LIMITS.burst * 0.5 - 900);
    // What one no longer holds is not what the other does.
    const { levels, now } = await one.tell(held(0));
    const refill = ((now - told.now) * LIMITS.inputTokens) / 60_000;
    ok(
      Math.abs((levels.inputTokens?.level ?? 0) - refill - LIMITS.inputTokens * LIMITS.burst * 0.5 + 200) < 1,
    );
  });

  check('goes on at once where the API has far smaller limits than configured', async ({ peer }) => {
    const one = peer();
    const limits = { ...LIMITS, requests: 100 * LIMITS.requests };
    await one.tell({ limits });
    const headroom = { requests: { limit: LIMITS.requests, remaining: LIMITS.requests / 10 } };
    const { levels } = await one.tell({
      events: [{ type: 'headers', sentAgo: 100, isAnswer: true, headroom }],
    });
    equal(levels.requests?.perMinute, LIMITS.requests);
    // Half of the bucket that was thought to be there counted as used: a hundred times what there is.
    ok((levels.requests?.level ?? -1) >= 0, `the level is ${levels.requests?.level}`);
  });

  check('stops all processes for as long as one was told to wait', async ({ peer }) => {
    const one = peer();
    const other = peer();
    await one.tell({ limits: LIMITS, events: [{ type: 'pause', ms: 60_000 }] });
    const answer = await other.tell({ candidates: [other.call()] });
    const [result] = answer.results;
    ok(result?.type === 'waits' && result.reason === 'upstream_paused' && (result.waitMs ?? 0) > 50_000);
    await one.tell({ events: [{ type: 'endPause' }] });
    equal(grantedOf(await other.tell({ candidates: [other.call()] })), 1);
  });

  check('slows all processes where use of one has grown too fast for the API', async ({ peer }) => {
    const one = peer();
    const other = peer();
    await one.tell({ limits: LIMITS, candidates: [one.call()] });
    await one.tell({ events: [{ type: 'ramp', sentAgo: 10, ms: 0 }] });
    const { results, pacePerMs } = await other.tell({ candidates: [other.call()] });
    const [result] = results;
    // A tenth of the limit, with plenty left of it: one a second.
    ok(result?.type === 'waits' && result.reason === 'upstream_paused' && (result.waitMs ?? 0) > 500);
    ok(pacePerMs !== undefined && pacePerMs >= 0.001 && pacePerMs < 0.0011, `the pace is ${pacePerMs}`);
    await one.tell({ events: [{ type: 'endPause' }] });
    equal(grantedOf(await other.tell({ candidates: [other.call()] })), 1);
  });

  check('lets users take turns, whichever process they are in', async ({ peer }) => {
    const one = peer();
    const other = peer();
    const limits = { ...LIMITS, concurrency: 1 };
    const busy = { requests: 0, inputTokens: 0, outputTokens: 0 };
    await one.tell({ limits, holds: { inputTokens: 0, calls: 1, variance: 0 } });
    const greedy = Array.from({ length: 4 }, () =>
      one.call({ user: 'greedy', isQueued: true, waitedMs: 500 }),
    );
    const modest = other.call({ user: 'modest', isQueued: true });
    await one.tell({ candidates: greedy, users: 1, holds: { inputTokens: 0, calls: 1, variance: 0 } });
    await other.tell({ limits, candidates: [modest], users: 1 });
    // One slot is free: the first of equals is who has waited longest.
    const first = await one.tell({ candidates: greedy, users: 1, charges: busy });
    equal(grantedOf(first), 1);
    // The next is the other's, however many the first has waiting.
    const second = await one.tell({ candidates: greedy.slice(1), users: 1 });
    equal(grantedOf(second), 0);
    equal(grantedOf(await other.tell({ candidates: [modest], users: 1 })), 1);
  });

  check('gives a user back what a turn was charged too much for', async ({ peer }) => {
    const one = peer();
    const call = () => one.call({ user: 'modest', isQueued: true, cost: 100 });
    const first = (await one.tell({ limits: LIMITS, users: 2, candidates: [call()] })).results[0];
    ok(first?.type === 'granted' && first.turn !== undefined && first.tag !== undefined);
    const { turn, tag } = first;
    const corrected = {
      type: 'corrected',
      lane: 'interactive',
      user: 'modest',
      delta: -100,
      ...turn,
    } as const;
    await one.tell({ users: 2, events: [corrected] });
    const next = (await one.tell({ users: 2, candidates: [call()] })).results[0];
    ok(next?.type === 'granted' && next.tag !== undefined);
    // From where the lane is by then, half a turn on, and not from where the first had ended.
    equal(next.tag.at, tag.at + 50);
  });

  check('tells those who wait when their turn may have come', async ({ store, peer }) => {
    const one = peer('waiting');
    const other = peer('ending');
    const limits = { ...LIMITS, concurrency: 1 };
    const heard: Wake[] = [];
    await other.tell({ limits, holds: { inputTokens: 0, calls: 1, variance: 0 } });
    const bucket = `bucket ${next - 1}`;
    const silence = store.listen(bucket, (wake) => heard.push(wake));
    await new Promise((resolve) => setTimeout(resolve, 200));
    await one.tell({ limits, candidates: [one.call({ isQueued: true })], users: 1 });
    await other.tell();
    for (let tries = 0; heard.length === 0 && tries < 100; tries++)
      await new Promise((resolve) => setTimeout(resolve, 20));
    silence();
    ok(heard.some(({ process, waitMs }) => process === 'waiting' && waitMs === 0));
  });

  check('shows what each process has to say of a topic, where it has a board', async ({ store }) => {
    const { board } = store;
    if (board === undefined) return;
    const topic = `topic ${next}`;
    const heard: [string, string][] = [];
    const ages = new Map<string, number>();
    const hear = (process: string, notice: string, ageMs: number) => {
      heard.push([process, notice]);
      ages.set(notice, ageMs);
    };
    const isHeard = async (notice: string) => {
      for (let tries = 0; !ages.has(notice) && tries < 100; tries++) await pause(20);
      ok(ages.has(notice), `${notice} was not told of`);
    };
    await board.post(topic, 'one', 'first', 60_000);
    await board.post(topic, 'one', 'first again', 60_000);
    await board.post(topic, 'two', 'short-lived', 50);
    await board.post(`other ${topic}`, 'three', 'of another topic', 60_000);
    await pause(200);
    const end = board.watch(topic, hear);
    // Whoever comes later is told of what is up, and for how long it has been.
    await isHeard('first again');
    ok((ages.get('first again') ?? 0) >= 150, `it is ${ages.get('first again')} ms old`);
    // And of what is put up from now on.
    await board.post(topic, 'two', 'second', 60_000);
    await isHeard('second');
    equal(ages.get('second'), 0);
    deepEqual(
      new Set(heard.map(([process, notice]) => `${process}: ${notice}`)),
      new Set(['one: first again', 'two: second']),
    );
    end();
    await board.post(topic, 'two', 'third', 60_000);
    await pause(100);
    ok(!ages.has('third'));
  });

  check(
    'asks a process that it does not know for its limits, and starts no full bucket',
    async ({ peer }) => {
      const one = peer();
      equal((await one.tell({ limits: LIMITS })).isUnknown, true);
      const { isUnknown, levels } = await one.tell();
      equal(isUnknown, false);
      ok((levels.requests?.level ?? 0) < LIMITS.requests * LIMITS.burst * 0.75);
    },
  );
}
