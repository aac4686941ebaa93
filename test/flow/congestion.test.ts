import type Anthropic from '@anthropic-ai/sdk';
import type { Governor } from '@headgate/core';
import { describe, expect, it } from 'vitest';
import { ask, startGoverned } from '../support/governed.ts';

const CALLS = 60;
const REMOVED = ['anthropic-ratelimit-*'];

interface Scene {
  readonly what: string;
  readonly isStream?: boolean;
  /** Whether responses carry rate-limit headers. */
  readonly hasHeaders?: boolean;
  readonly users?: number;
  readonly account?: { readonly requestsPerMinute: number; readonly burst?: number };
}

const SCENES: readonly Scene[] = [
  { what: 'nothing configured, headers that show plenty' },
  { what: 'no rate-limit headers', hasHeaders: false },
  { what: 'one user', users: 1 },
  { what: 'streams', isStream: true, users: 7 },
  { what: 'a wide bucket that is full', account: { requestsPerMinute: 60_000, burst: 1 } },
];

const one = (claude: Anthropic, isStream: boolean) =>
  isStream ? claude.messages.stream(ask()).finalMessage() : claude.messages.create(ask());

async function answered(governor: Governor, claude: Anthropic, { isStream = false, users = CALLS }: Scene) {
  const ends = await Promise.allSettled(
    Array.from({ length: CALLS }, (_, i) =>
      governor.run({ user: `user ${i % users}`, deadlineMs: 40_000 }, () => one(claude, isStream)),
    ),
  );
  return ends.filter(({ status }) => status === 'fulfilled').length;
}

describe('an API that takes four calls at once and refuses the rest without a time', () => {
  it.each(SCENES)('answers sixty of sixty calls (fourteen before): $what', async (scene) => {
    const { account, hasHeaders = true } = scene;
    const { api, governor, claude } = await startGoverned({
      api: {
        concurrent: 4,
        latency: { timeToFirstTokenMs: 30, tokensPerSecond: 1_000, flushMs: 10 },
        limits: [{ name: 'all', models: ['*'], requestsPerMinute: 60_000, burstSeconds: 60 }],
      },
      config: { account: account === undefined ? [] : [{ name: 'all', models: ['*'], ...account }] },
    });
    if (!hasHeaders) api.inject({ kind: 'headers', remove: REMOVED, times: Number.POSITIVE_INFINITY });
    // Limits that are not configured are told by the first response.
    if (account === undefined) await claude.messages.create(ask());
    expect(await answered(governor, claude, scene)).toBe(CALLS);
    expect(api.ledger.count({ outcome: 'refused' })).toBeLessThanOrEqual(4 * 6);
    const { retryBudget, inFlight } = governor.snapshot();
    expect({ retryBudget, inFlight }).toEqual({ retryBudget: 10, inFlight: 0 });
  });
});
