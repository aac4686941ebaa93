import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EventClock } from '../../packages/cli/src/plan/clock.ts';
import { OverloadCap } from '../../packages/core/src/admission/overload-cap.ts';
import { Quotas } from '../../packages/core/src/admission/quotas.ts';
import { type Passage, Scheduler } from '../../packages/core/src/admission/scheduler.ts';
import { UpstreamBucket } from '../../packages/core/src/admission/upstream.ts';
import { Alarms } from '../../packages/core/src/alarms.ts';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import { Estimator } from '../../packages/core/src/estimate/estimator.ts';
import { estimateOf, taking } from '../support/estimates.ts';

describe('a cap that overload has set', () => {
  it('tells the rounds that a queue takes while it grows', () => {
    const counts = { active: fc.integer({ min: 4, max: 300 }), calls: fc.integer({ min: 1, max: 2_000 }) };
    fc.assert(
      fc.property(fc.record(counts), ({ active, calls }) => {
        const cap = new OverloadCap();
        cap.overloaded(0, active, 0);
        const foretold = cap.roundsOf(calls);
        let rounds = 0;
        for (let left = calls; left > 0; rounds++) {
          // Where the cap is gone, as many run as make it go.
          const running = Math.min(cap.limit, Math.ceil(1.25 * active));
          for (let ended = 0; ended < running; ended++) cap.ended(1, running - 1);
          left -= running;
        }
        expect(Math.abs(foretold - rounds)).toBeLessThanOrEqual(2 + 0.15 * rounds);
      }),
    );
  });

  it('is not thought to last: of 300 calls that are served within 5 s none is refused for 20 s (49 until 0.2)', async () => {
    const clock = new EventClock();
    const { lanes } = parseConfig({ lanes: { only: { maxWait: '20s' } } });
    const estimator = new Estimator(() => clock.now());
    const limits = { requestsPerMinute: 600_000, burst: 1 };
    const upstream = new UpstreamBucket('a', 's', limits, estimator, 0);
    const scheduler = new Scheduler(upstream, lanes, new Alarms(clock), clock, () => 0.5);
    const quotas = new Quotas([], 'UTC', clock);
    const enter = (user: string) =>
      scheduler.enter({
        demand: {
          estimate: estimateOf(20, 20),
          chargesTokens: true,
          isStreaming: false,
          caller: user,
        },
        lane: 'only',
        flowKey: user,
        ticket: quotas.ticket([], taking({ inputTokens: 20, outputTokens: 20 })),
        deadlineAt: 1e9,
        isRetry: false,
        signals: [],
      });
    const end = ({ flight }: Passage, user: string) => {
      upstream.settle(flight, { requests: 1, inputTokens: 20, outputTokens: 20 }, clock.now());
      scheduler.settled('only', user, 0, flight);
    };
    // Twelve calls take 700 ms each, and two of them meet an overloaded API.
    const first = await Promise.all(Array.from({ length: 12 }, (_, n) => enter(`early ${n}`)));
    await clock.run(700);
    for (const { flight } of first.slice(0, 2)) upstream.overloaded(flight, clock.now());
    const waits: number[] = [];
    let refused = 0;
    const call = async (user: string) => {
      try {
        const passage = await enter(user);
        waits.push(passage.waitedMs);
        clock.after(200, () => end(passage, user));
      } catch {
        refused++;
      }
    };
    for (const [n, passage] of first.entries()) {
      end(passage, `early ${n}`);
      for (let more = 0; more < 25; more++) void call(`user ${n} ${more}`);
    }
    await clock.run(20_000);

    expect(Math.max(...waits)).toBeLessThan(5_000);
    expect({ served: waits.length, refused }).toEqual({ served: 300, refused: 0 });
  });
});
