import { isHeadgateError } from '@headgate/core';
import { expect, it } from 'vitest';
import { exponential, lognormal, seeded } from '../../packages/cli/src/plan/random.ts';
import { LIMITS, MODEL, startGoverned } from '../support/governed.ts';

const SECONDS = 30;
const MEAN_OUTPUT = 400;
/** Calls a second that the output limit allows. */
const ALLOWED = LIMITS.outputTokensPerMinute / 60 / MEAN_OUTPUT;

/**
 * The peak as it is lived: the official SDK over real HTTP, twice what the limit allows, one in ten of them as JSON, from five
 * hundred users, with more waiting at the start than the depth holds.
 */
it(`${SECONDS} seconds at twice the limit: nearly all of it is used, and nothing is refused`, async () => {
  const random = seeded(1);
  const { api, governor, claude } = await startGoverned({
    api: {
      seed: 1,
      limits: [{ ...LIMITS, burstSeconds: 6 }],
      output: (_, draw) => Math.min(4_096, Math.max(1, Math.round(lognormal(draw, MEAN_OUTPUT, 1)))),
    },
  });
  const counts = { answered: 0, refused: 0, failed: [] as unknown[] };
  const stop = new AbortController();
  const call = async () => {
    const isStreaming = random() < 0.9;
    const user = `user ${Math.floor(random() * 500)}`;
    const params = {
      model: MODEL,
      max_tokens: 4_096,
      messages: [{ role: 'user' as const, content: 'word '.repeat(100 + Math.floor(random() * 400)) }],
    };
    try {
      await governor.run({ user, signal: stop.signal }, async () => {
        if (!isStreaming) return claude.messages.create(params);
        return claude.messages.stream(params).finalMessage();
      });
      counts.answered++;
    } catch (error) {
      if (stop.signal.aborted) return;
      if (isHeadgateError(error) || isHeadgateError((error as Error).cause)) counts.refused++;
      else counts.failed.push(error);
    }
  };

  // A service that has been up for a while: connections are open, and something is known of how long answers are.
  await Promise.all(Array.from({ length: 40 }, call));
  await new Promise((resolve) => setTimeout(resolve, 7_000));
  const warm = api.ledger.entries.length;
  counts.answered = 0;

  const from = performance.now();
  const calls = Array.from({ length: Math.ceil(1.1 * ALLOWED * 6) }, call);
  for (let at = 0; at < SECONDS * 1_000; ) {
    const wait = exponential(random, 1_000 / (2 * ALLOWED));
    at += wait;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, from + at - performance.now())));
    calls.push(call());
  }
  const { outputTokens = 0 } = api.ledger.utilization('sonnet-4', from, from + SECONDS * 1_000);
  const refusals = api.ledger.count({ outcome: 'refused' });
  stop.abort();
  await Promise.all(calls);
  console.log(
    `used ${(100 * outputTokens).toFixed(1)} % of depth and refill; 429s ${refusals} of ${api.ledger.entries.length - warm}; ` +
      `answered ${counts.answered}, refused for the wait ${counts.refused}, failed ${counts.failed.length}`,
  );
  expect(counts.failed).toEqual([]);
  expect(refusals).toBe(0);
  expect(outputTokens).toBeGreaterThanOrEqual(0.95);
});
