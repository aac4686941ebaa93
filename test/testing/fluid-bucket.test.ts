import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createAccount, isRefusal } from '../../packages/testing/src/api/account.ts';
import { createFluidBucket } from '../../packages/testing/src/api/fluid-bucket.ts';

const bucketOf = (limitPerMinute: number, burstSeconds: number) =>
  createFluidBucket({ limitPerMinute, burstSeconds, leastCapacity: 1 }, 0);

describe('a fluid bucket', () => {
  test('starts full, refills evenly and stops at its depth', () => {
    const bucket = bucketOf(6_000, 6);
    expect(bucket.level(0)).toBe(600);
    bucket.take(0, 500);
    expect(bucket.level(1_000)).toBeCloseTo(200);
    expect(bucket.fullInMs(1_000)).toBeCloseTo(4_000);
    expect(bucket.level(60_000)).toBe(600);
  });

  test('a full bucket loses only what flows out faster than it refills', () => {
    const bucket = bucketOf(6_000, 6);
    // Out 50 per second for 10 s, in 100 per second: it stays full.
    bucket.flow(0, 0, 10_000, 500);
    expect(bucket.level(5_000)).toBe(600);
    // Out 150 more from second 10 to 20: the net loss is 50 per second.
    bucket.flow(5_000, 10_000, 20_000, 1_500);
    expect(bucket.level(20_000)).toBeCloseTo(100);
    expect(bucket.level(21_000)).toBeCloseTo(200);
  });

  test('reading in between changes nothing', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            start: fc.nat(9_000),
            length: fc.nat(4_000),
            amount: fc.nat(900),
          }),
          {
            maxLength: 8,
          },
        ),
        fc.array(fc.nat(14_000), { maxLength: 30 }),
        (flows, reads) => {
          const watched = bucketOf(6_000, 6);
          const left = bucketOf(6_000, 6);
          for (const { start, length, amount } of flows) {
            watched.flow(0, start, start + length, amount);
            left.flow(0, start, start + length, amount);
          }
          for (const at of reads.toSorted((a, b) => a - b)) watched.level(at);
          expect(watched.level(15_000)).toBeCloseTo(left.level(15_000), 6);
        },
      ),
    );
  });

  test('the time at which a level is reached is exact, flows and all', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            start: fc.nat(9_000),
            length: fc.nat(4_000),
            amount: fc.nat(900),
          }),
          {
            maxLength: 8,
          },
        ),
        fc.integer({ min: 1, max: 600 }),
        (flows, target) => {
          const bucket = bucketOf(6_000, 6);
          bucket.take(0, 600);
          for (const { start, length, amount } of flows) bucket.flow(0, start, start + length, amount);
          const at = bucket.reaches(0, 0, target);
          expect(at).toBeGreaterThan(0);
          const before = bucket.level(at - 0.1);
          expect(before).toBeLessThan(target);
          expect(bucket.level(at)).toBeGreaterThanOrEqual(target - 1e-6);
        },
      ),
    );
  });

  test('a flow stopped half way has taken half', () => {
    const bucket = bucketOf(600, 60);
    const flow = bucket.flow(0, 1_000, 3_000, 400);
    expect(flow.stop(2_000)).toBeCloseTo(200);
    expect(flow.stop(9_000)).toBeCloseTo(200);
    expect(bucket.level(2_000)).toBeCloseTo(600 - 200 + 10);
    expect(bucket.level(3_000)).toBeCloseTo(600 - 200 + 20);
  });

  test('a flow stopped before it began has taken nothing', () => {
    const bucket = bucketOf(600, 60);
    expect(bucket.flow(0, 1_000, 3_000, 400).stop(500)).toBe(0);
    expect(bucket.level(5_000)).toBe(600);
  });

  test('a smaller limit cuts the level to the new depth, a larger one leaves it', () => {
    const bucket = bucketOf(6_000, 6);
    bucket.resize(0, 600, 6);
    expect(bucket.level(0)).toBe(60);
    bucket.resize(0, 60_000, 6);
    expect(bucket.level(0)).toBe(60);
    expect(bucket.level(1_000)).toBeCloseTo(1_060);
  });
});

describe('an account', () => {
  const arrivals = fc.array(
    fc.record({
      gap: fc.integer({ min: 0, max: 3_000 }),
      input: fc.integer({ min: 1, max: 900 }),
    }),
    { minLength: 1, maxLength: 120 },
  );

  test('admits in no window more than depth + rate × time', () => {
    fc.assert(
      fc.property(arrivals, fc.constantFrom(1, 6, 60), (list, burstSeconds) => {
        const limits = { requestsPerMinute: 60, inputTokensPerMinute: 6_000 };
        const account = createAccount({ name: 'x', models: [], burstSeconds, ...limits }, 0);
        const depth = (perMinute: number) => Math.max(1, (perMinute * burstSeconds) / 60);
        const admitted: { at: number; input: number }[] = [];
        let now = 0;
        for (const { gap, input } of list) {
          now += gap;
          if (isRefusal(account.admit(now, { inputTokens: input, maxTokens: 1 }))) continue;
          admitted.push({ at: now, input });
        }
        for (const [from, first] of admitted.entries()) {
          let requests = 0;
          let tokens = 0;
          let largest = 0;
          for (const each of admitted.slice(from)) {
            requests += 1;
            tokens += each.input;
            largest = Math.max(largest, each.input);
            const seconds = (each.at - first.at) / 1_000;
            expect(requests).toBeLessThanOrEqual(depth(60) + seconds + 1e-6);
            // One input deeper than the bucket goes into debt, by what it exceeds the depth.
            const debt = Math.max(0, largest - depth(6_000));
            expect(tokens).toBeLessThanOrEqual(depth(6_000) + 100 * seconds + debt + 1e-6);
          }
        }
      }),
    );
  });

  test('a refusal consumes nothing and its wait is true', () => {
    fc.assert(
      fc.property(arrivals, fc.integer({ min: 1, max: 900 }), (list, input) => {
        const limits = {
          requestsPerMinute: 60,
          inputTokensPerMinute: 6_000,
          outputTokensPerMinute: 3_000,
        };
        const account = createAccount({ name: 'x', models: [], ...limits }, 0);
        let now = 0;
        for (const each of list) {
          now += each.gap / 4;
          const charge = account.admit(now, {
            inputTokens: each.input,
            maxTokens: 1,
          });
          if (isRefusal(charge)) continue;
          const plan = {
            firstTokenAt: now + 300,
            endAt: now + 3_000,
            outputTokens: 200,
          };
          charge.schedule(now, { inputTokens: each.input + 20, ...plan });
        }
        const levels = account.levels(now);
        const refusal = account.admit(now, {
          inputTokens: input,
          maxTokens: 1,
        });
        if (!isRefusal(refusal)) return;
        expect(account.levels(now)).toEqual(levels);
        const seconds = refusal.retryAfterSeconds ?? Number.NaN;
        expect(Number.isInteger(seconds)).toBe(true);
        const early = account.admit(now + (seconds - 1) * 1_000, {
          inputTokens: input,
          maxTokens: 1,
        });
        expect(isRefusal(early)).toBe(true);
        expect(
          isRefusal(
            account.admit(now + seconds * 1_000, {
              inputTokens: input,
              maxTokens: 1,
            }),
          ),
        ).toBe(false);
      }),
    );
  });
});
