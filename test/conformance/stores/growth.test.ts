import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Ramp } from '../../../packages/core/src/admission/ramp.ts';
import { Peer } from '../../../packages/testing/src/store/exchanges.ts';
import { describeStores, SetClock } from './clocked.ts';

/** Deep enough to hold nobody up. */
const LIMITS = { requests: 6_000, burst: 1 };
const PER_MS = LIMITS.requests / 60_000;

describeStores('use that has grown too fast', (create) => {
  it('is let grow as in one process, whichever process asks and whichever was refused', async () => {
    const step = fc.record({
      afterMs: fc.oneof(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 61, max: 70_000 })),
      process: fc.nat(1),
      calls: fc.integer({ min: 0, max: 30 }),
      refused: fc.option(
        fc.record({ sentAgo: fc.integer({ min: 0, max: 1_500 }), ms: fc.integer({ min: 0, max: 3_000 }) }),
        { freq: 8, nil: undefined },
      ),
    });
    let held = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 80 }), async (steps) => {
        const clock = new SetClock();
        const store = create(clock);
        const peers = [new Peer(store, 'bucket', 'one'), new Peer(store, 'bucket', 'two')];
        for (const peer of peers) await peer.tell({ limits: LIMITS });
        const ramp = new Ramp();
        for (const { afterMs, process, calls, refused } of steps) {
          clock.at += afterMs;
          const now = clock.at;
          const peer = peers[process] as Peer;
          // The ledger counts refusals first, and then lets go.
          if (refused !== undefined) ramp.refused(now - refused.sentAgo, now + refused.ms, PER_MS, now);
          let wait = 0;
          let allowed = 0;
          for (; allowed < calls; allowed++) {
            wait = ramp.waitMs(PER_MS, now);
            if (wait > 0) break;
            ramp.sent(now);
          }
          const answer = await peer.tell({
            limits: LIMITS,
            events: refused === undefined ? [] : [{ type: 'ramp', ...refused }],
            candidates: Array.from({ length: calls }, () => peer.call()),
          });
          const granted = answer.results.filter(({ type }) => type === 'granted');
          expect(granted).toHaveLength(allowed);
          const waiting = answer.results.find((result) => result.type === 'waits');
          if (waiting !== undefined) {
            held++;
            expect(waiting.waitMs).toBeCloseTo(wait, 6);
          }
          expect(answer.pacePerMs ?? 0).toBeCloseTo(ramp.pacePerMs ?? 0, 9);
          // Who waits would be first when the other asks.
          await peer.tell({});
        }
        await store.close();
      }),
      { numRuns: 60 },
    );
    expect(held).toBeGreaterThan(100);
  });
});
