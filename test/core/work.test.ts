import fc from 'fast-check';
import { expect, it } from 'vitest';
import { EventClock } from '../../packages/cli/src/plan/clock.ts';
import { NO_RESERVE } from '../../packages/core/src/admission/flight.ts';
import { Quotas } from '../../packages/core/src/admission/quotas.ts';
import { Scheduler } from '../../packages/core/src/admission/scheduler.ts';
import { UpstreamBucket } from '../../packages/core/src/admission/upstream.ts';
import { Alarms } from '../../packages/core/src/alarms.ts';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import { Estimator } from '../../packages/core/src/estimate/estimator.ts';
import { estimateOf, taking } from '../support/estimates.ts';

/** Running answers are looked at five times a second, and a look may ask for another fifteen milliseconds later. */
const LATE_MS = 220;

/**
 * Work is conserved: at no time does a call wait that nothing stands in the way of, but for as long as a timer takes to
 * be looked at. All calls are alike, so that whichever is first, it is that one.
 */
it('nobody waits for room that is there, whatever comes and ends when', async () => {
  const call = fc.record({
    at: fc.integer({ min: 0, max: 20_000 }),
    user: fc.integer({ min: 0, max: 5 }),
    takesMs: fc.integer({ min: 50, max: 8_000 }),
    outputTokens: fc.integer({ min: 1, max: 900 }),
  });
  const limits = fc.record({
    requestsPerMinute: fc.constantFrom(30, 300, 6_000),
    inputTokensPerMinute: fc.constantFrom(3_000, 60_000, 6_000_000),
    outputTokensPerMinute: fc.constantFrom(3_000, 60_000, 6_000_000),
    burst: fc.constantFrom(1 / 60, 0.1, 1),
    concurrency: fc.constantFrom(2, 1_000),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(call, { minLength: 5, maxLength: 60 }), limits, async (calls, config) => {
      const clock = new EventClock();
      const { lanes } = parseConfig({ lanes: { only: { maxWait: '60m', maxQueuedPerUser: 1_000 } } });
      const upstream = new UpstreamBucket('a', 's', config, new Estimator(() => 0), 0);
      const scheduler = new Scheduler(upstream, lanes, new Alarms(clock), clock, () => 0.5);
      const quotas = new Quotas([], 'UTC', clock);
      const demand = {
        estimate: estimateOf(100, 300, { leastInputTokens: 90 }),
        chargesTokens: true,
        isStreaming: true,
      };
      for (const { at, user, takesMs, outputTokens } of calls) {
        const flowKey = `user ${user}`;
        const ticket = quotas.ticket([], taking({ inputTokens: 100, outputTokens: 300 }));
        clock.at(at, () => {
          const passage = scheduler.enter({
            demand,
            lane: 'only',
            flowKey,
            ticket,
            deadlineAt: 1e9,
            isRetry: false,
            signals: [],
          });
          passage.then(
            ({ flight }) =>
              clock.at(clock.now() + takesMs, () => {
                upstream.settle(flight, { requests: 1, inputTokens: 95, outputTokens }, clock.now());
                scheduler.settled('only', flowKey, upstream.cost(95, outputTokens), flight);
              }),
            // Still waiting when the gate is closed.
            () => {},
          );
        });
      }
      let freeSince: number | undefined;
      for (let now = 0; now <= 30_000; now += 5) {
        await clock.run(now);
        const isFree = scheduler.size > 0 && upstream.shortage(demand, NO_RESERVE, 0, now) === undefined;
        freeSince = isFree ? (freeSince ?? now) : undefined;
        if (freeSince !== undefined) expect(now - freeSince).toBeLessThanOrEqual(LATE_MS);
      }
      scheduler.close();
    }),
    { numRuns: 25 },
  );
});
