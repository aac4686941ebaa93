import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Granted } from '../../packages/core/src/admission/admission.ts';
import { gate, outcome } from '../support/gate.ts';

describe('admission', () => {
  it('lets exactly ten of two hundred calls at once through a quota of ten a day', async () => {
    const { ask, done } = gate({ quotas: [{ name: 'q', requests: '10/day' }] });
    const all = await Promise.all(Array.from({ length: 200 }, () => outcome(ask('new'))));
    const granted = all.flatMap((each) => (each.granted ? [each.granted] : []));
    expect(granted).toHaveLength(10);
    for (const each of all)
      if ('error' in each) expect(each.error).toMatchObject({ code: 'quota_exceeded', rule: 'q' });
    for (const each of granted) done(each);
    expect(await outcome(ask('new'))).toMatchObject({ error: { code: 'quota_exceeded' } });
    expect(await outcome(ask('other'))).toHaveProperty('granted');
  });

  it('parks what its own quota holds back, and it delays nobody', async () => {
    const { ask, done, clock, admission } = gate({
      quotas: [{ name: 'slot', concurrency: 1, onExceed: 'wait' }],
      account: [{ name: 's', models: ['*'], requestsPerMinute: 60_000, concurrency: 5 }],
    });
    const first = await ask('greedy');
    const parked = Array.from({ length: 20 }, () => outcome(ask('greedy')));
    await clock.advance(1);
    expect(admission.snapshot().buckets[0]).toMatchObject({ parked: 20, active: 1 });
    const other = await ask('modest');
    done(other);
    done(first);
    const served: Granted[] = [];
    for (const each of parked) {
      const { granted } = (await each) as { granted: Granted };
      served.push(granted);
      done(granted);
    }
    expect(served).toHaveLength(20);
    expect(served.every(({ waitedFor }) => waitedFor === 'concurrency')).toBe(true);
  });

  it('is all or nothing: what one limit refuses, no other has counted', async () => {
    const { ask, done, admission } = gate({
      quotas: [
        { name: 'all', per: 'all', requests: '100/day' },
        { name: 'one', per: 'user', requests: '1/day' },
      ],
    });
    done(await ask('ada'));
    for (let i = 0; i < 50; i++) await outcome(ask('ada'));
    const others = await Promise.all(Array.from({ length: 99 }, (_, i) => outcome(ask(`user ${i}`))));
    expect(others.filter((each) => 'granted' in each)).toHaveLength(99);
    expect(await outcome(ask('last'))).toMatchObject({ error: { rule: 'all' } });
    expect(admission.open).toBe(99);
  });

  it('gives back what a call that was never sent had taken', async () => {
    const { ask } = gate({ quotas: [{ name: 'q', requests: '1/day', inputTokens: '1000/day' }] });
    for (let i = 0; i < 5; i++) (await ask('ada')).lease.drop('unsent');
    (await ask('ada')).lease.drop('refused');
    (await ask('ada')).lease.drop('lost');
    expect(await outcome(ask('ada'))).toMatchObject({ error: { code: 'quota_exceeded' } });
  });

  it('closes a lease once, whatever is called afterwards', async () => {
    const { ask, done, admission, clock } = gate({
      account: [{ name: 's', models: ['*'], requestsPerMinute: 60, burst: 1 }],
    });
    const granted = await ask('ada');
    done(granted);
    const level = () => admission.snapshot().buckets[0]?.limits.requests?.level;
    const before = level();
    granted.lease.drop('unsent');
    done(granted);
    granted.lease.drop('lost');
    expect([level(), admission.open]).toEqual([before, 0]);
    await clock.advance(2_000);
    expect(level()).toBe(60);
  });

  it('waits in the queue no longer than its lane allows, nor than its deadline', async () => {
    const { ask, clock } = gate({
      account: [{ name: 's', models: ['*'], concurrency: 1 }],
      lanes: { only: { maxWait: '5s' } },
    });
    await ask('ada');
    const late = outcome(ask('ben'));
    const later = outcome(ask('eve', { deadlineMs: 2_000 }));
    await clock.advance(2_001);
    expect(await later).toMatchObject({ error: { name: 'QueueTimeoutError', reason: 'deadline' } });
    await clock.advance(3_000);
    expect(await late).toMatchObject({
      error: { name: 'QueueTimeoutError', reason: 'queue_timeout', retryAfterMs: expect.any(Number) },
    });
    expect(clock.pending()).toBe(0);
  });

  it('refuses at once what would wait too long, with an honest time', async () => {
    const { ask } = gate({
      account: [{ name: 's', models: ['*'], requestsPerMinute: 60, burst: 1 / 60 }],
      lanes: { only: { maxWait: '5s' } },
    });
    const all = Array.from({ length: 20 }, () => outcome(ask('ada')));
    const { error } = (await all[19]) as { error: { retryAfterMs: number } };
    expect(error).toMatchObject({ name: 'QueueFullError', reason: 'queue_full' });
    expect(error.retryAfterMs).toBeGreaterThan(2_000);
  });

  it('bounds what waits, by lane and by user', async () => {
    const { ask } = gate({
      account: [{ name: 's', models: ['*'], concurrency: 1 }],
      lanes: { only: { maxWait: '60s', maxQueued: 10, maxQueuedPerUser: 4 } },
    });
    await ask('first');
    for (let i = 0; i < 4; i++) void outcome(ask('ada'));
    expect(await outcome(ask('ada'))).toMatchObject({ error: { reason: 'queue_full' } });
    for (let i = 0; i < 6; i++) void outcome(ask(`user ${i}`));
    expect(await outcome(ask('another'))).toMatchObject({ error: { reason: 'queue_full' } });
  });

  it('refuses at once a prompt that is larger than a whole minute allows', async () => {
    const { ask } = gate({ account: [{ name: 's', models: ['*'], inputTokensPerMinute: 1_000 }] });
    const refused = await outcome(ask('ada', { chars: 40_000 }));
    expect(refused).toMatchObject({
      error: { code: 'queue_full', reason: 'input_tokens_per_minute', retryAfterMs: undefined },
    });
  });

  it('lets a prompt deeper than the bucket in when the bucket is full, and smaller ones meanwhile', async () => {
    const { ask, done, clock } = gate({
      account: [{ name: 's', models: ['*'], inputTokensPerMinute: 60_000, burst: 0.1 }],
      lanes: { only: { maxWait: '120s' } },
    });
    done(await ask('first', { chars: 20_000 }));
    const large = outcome(ask('large', { chars: 60_000 })); // about 16,000 tokens, in a bucket 6,000 deep
    let small = 0;
    let isLargeIn = false;
    void large.then((each) => {
      isLargeIn = 'granted' in each;
    });
    for (let i = 0; i < 300 && !isLargeIn; i++) {
      void outcome(ask(`user ${i}`)).then((each) => {
        if (each.granted) {
          small++;
          done(each.granted);
        }
      });
      await clock.advance(100);
    }
    expect(isLargeIn).toBe(true);
    expect(small).toBeGreaterThan(10);
  });

  it('conserves everything, whatever happens in whatever order', async () => {
    const move = fc.record({
      kind: fc.constantFrom('ask', 'ask', 'ask', 'settle', 'settle', 'drop', 'abort', 'advance', 'advance'),
      user: fc.constantFrom('a', 'b', 'c'),
      lane: fc.constantFrom('interactive', 'background'),
      chars: fc.integer({ min: 1, max: 30_000 }),
      pick: fc.nat(),
      ms: fc.integer({ min: 1, max: 8_000 }),
      reason: fc.constantFrom('unsent' as const, 'refused' as const, 'lost' as const),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(move, { maxLength: 60 }), async (moves) => {
        const { ask, done, clock, admission, alarms } = gate({
          account: [
            {
              name: 's',
              models: ['*'],
              requestsPerMinute: 120,
              inputTokensPerMinute: 100_000,
              outputTokensPerMinute: 20_000,
              concurrency: 6,
            },
          ],
          lanes: {
            interactive: { weight: 8, guarantee: 0.5, maxWait: '10s' },
            background: { guarantee: 0.05, reserve: 0.15, maxWait: '30s' },
          },
          quotas: [
            { name: 'slots', concurrency: 3, onExceed: 'wait' },
            { name: 'day', requests: '20/day', usd: '1/day' },
            { name: 'minute', inputTokens: '60k/minute', onExceed: 'wait' },
          ],
        });
        const running: Granted[] = [];
        const aborts: AbortController[] = [];
        let settled = 0;
        let asked = 0;
        for (const { kind, user, lane, chars, pick, ms, reason } of moves) {
          if (kind === 'ask') {
            const controller = new AbortController();
            aborts.push(controller);
            asked++;
            void ask(user, { chars, lane, signal: controller.signal })
              .then(
                (granted) => void running.push(granted),
                () => {},
              )
              .then(() => settled++);
          } else if (kind === 'settle' || kind === 'drop') {
            const [granted] = running.splice(pick % Math.max(1, running.length), 1);
            if (granted !== undefined)
              kind === 'settle' ? done(granted, ms / 20) : granted.lease.drop(reason);
          } else if (kind === 'abort') aborts[pick % Math.max(1, aborts.length)]?.abort();
          else await clock.advance(ms);
          const { buckets, inFlight } = admission.snapshot();
          expect(inFlight).toBeLessThanOrEqual(6);
          expect(buckets[0]?.active ?? 0).toBeLessThanOrEqual(6);
        }
        for (let i = 0; i < 20; i++) {
          for (const granted of running.splice(0)) done(granted);
          await clock.advance(5_000);
        }
        expect(settled).toBe(asked);
        const { buckets, inFlight } = admission.snapshot();
        expect(inFlight).toBe(0);
        for (const bucket of buckets) {
          expect(bucket).toMatchObject({ active: 0, parked: 0, expectedOutputTokens: 0 });
          for (const { queued, users } of Object.values(bucket.lanes))
            expect([queued, users]).toEqual([0, 0]);
          // Everything has come back by refill, and not a token more.
          for (const limit of Object.values(bucket.limits)) expect(limit.level).toBe(limit.capacity);
        }
        expect([alarms.size, clock.pending()]).toEqual([0, 0]);
      }),
      { numRuns: 80 },
    );
  });
});

describe('slots of a bucket', () => {
  const account = [{ name: 's', models: ['claude-sonnet-*'], requestsPerMinute: 60_000, concurrency: 4 }];
  const flush = async () => {
    for (let i = 0; i < 20; i++) await Promise.resolve();
  };

  it.each([
    // slots, reserve, slots that the lane with the reserve may hold
    [4, 0.5, 2],
    [4, 0.15, 3],
    [2, 0.15, 1],
    [1, 0.5, 1],
    [100, 0.15, 85],
    [4, 0, 4],
    [3, 0.99, 1],
  ])('of %i a lane with reserve %d leaves its share free', async (concurrency, reserve, most) => {
    const { ask } = gate({
      account: [{ ...account[0], concurrency } as (typeof account)[0]],
      lanes: { interactive: {}, background: { reserve, maxWait: '10m', maxQueuedPerUser: 1_000 } },
    });
    const going: Granted[] = [];
    const start = (lane: string) => ask('u', { lane }).then((granted) => going.push(granted));
    for (let i = 0; i < concurrency; i++) void start('background');
    await flush();
    expect(going.length).toBe(most);
    for (let i = most; i < concurrency; i++) void start('interactive');
    await flush();
    expect(going.length).toBe(concurrency);
  });

  it('go to a lane by its guarantee, counted in the time that calls keep them', async () => {
    const { ask, done, clock } = gate({
      account,
      lanes: {
        // Its calls keep their slots ten times as long.
        slow: { weight: 1, guarantee: 0.25, maxWait: '1h' },
        quick: { weight: 1, guarantee: 0.75, maxWait: '1h' },
      },
    });
    const kept = { slow: 0, quick: 0 };
    const keep = { slow: 10_000, quick: 1_000 };
    const loop = async (lane: 'slow' | 'quick', user: string) => {
      for (;;) {
        const granted = await ask(user, { lane, deadlineMs: 3_600_000 });
        await new Promise<void>((resolve) => clock.after(keep[lane], resolve));
        kept[lane] += keep[lane];
        done(granted);
      }
    };
    for (let i = 0; i < 8; i++) for (const lane of ['slow', 'quick'] as const) void loop(lane, `u${i}`);
    for (let i = 0; i < 1_200; i++) await clock.advance(1_000);
    const share = kept.slow / (kept.slow + kept.quick);
    expect(share).toBeGreaterThan(0.2);
    expect(share).toBeLessThan(0.35);
  });
});
