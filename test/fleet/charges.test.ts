import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, type Governor, isHeadgateError } from '@headgate/core';
import { afterEach, describe, expect, it } from 'vitest';
import { ask, pause, until } from '../support/governed.ts';
import { noRedis } from '../support/redis.ts';
import { usageServer } from '../support/usage-server.ts';
import { storesOf } from './stores-of.ts';

const SONNET = 'claude-sonnet-4-6';
const OPUS = 'claude-opus-4-8';
const HAIKU = 'claude-haiku-5-5';
/** So slow that what comes back while a busy machine looks is small beside what is used. */
const LIMIT = {
  requestsPerMinute: 60_000,
  inputTokensPerMinute: 600_000,
  outputTokensPerMinute: 60_000,
  burst: 1,
};
/** Input and output tokens that come back in a millisecond. */
const RATES = [LIMIT.inputTokensPerMinute / 60_000, LIMIT.outputTokensPerMinute / 60_000];
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const tokens = (input: number, output: number) => ({ input_tokens: input, output_tokens: output });
const entry = (type: string, model: string, input: number, output: number) => ({
  type,
  model,
  ...tokens(input, output),
});

/** What the answer to a call of Sonnet says, and what another model has used in it: input, output. */
const ANSWERS = [
  {
    of: 'an advisor',
    usage: { ...tokens(10, 10), iterations: [entry('advisor_message', OPUS, 300_000, 20_000)] },
    opus: [300_000, 20_000],
  },
  {
    of: 'two advisors',
    usage: {
      ...tokens(10, 10),
      iterations: [
        entry('advisor_message', OPUS, 100_000, 9_000),
        entry('message', SONNET, 10, 10),
        entry('advisor_message', OPUS, 50_000, 8_000),
        entry('advisor_message', HAIKU, 50_000, 8_000),
      ],
    },
    opus: [150_000, 17_000],
  },
  {
    of: 'a fallback',
    usage: {
      ...tokens(40_000, 16_000),
      iterations: [entry('message', SONNET, 30_000, 3), entry('fallback_message', OPUS, 40_000, 16_000)],
    },
    opus: [40_000, 16_000],
  },
  {
    of: 'a kind that nobody knows yet',
    usage: { ...tokens(10, 10), iterations: [entry('critic_message', OPUS, 200_000, 18_000)] },
    opus: [200_000, 18_000],
  },
] as const;

describe.each(['memory', 'redis'] as const)('two processes on one %s store', (kind) => {
  describe.skipIf(kind === 'redis' && noRedis()).each(['JSON', 'stream'])('by %s', (mode) => {
    it.each(kind === 'redis' ? ANSWERS.slice(1, 3) : ANSWERS)(
      'both know what $of has used of the bucket and the quotas of its own model',
      async ({ usage, opus: [input, output] }) => {
        const baseURL = await usageServer((model) => (model === SONNET ? usage : tokens(10, 10)));
        const makeStore = await storesOf(kind, cleanups);
        const [one, other] = [0, 1].map(() => {
          const governor = createGovernor({
            config: {
              account: [
                { name: 'sonnet', models: ['claude-sonnet-*'], ...LIMIT },
                { name: 'opus', models: ['claude-opus-*'], ...LIMIT },
                { name: 'haiku', models: ['claude-haiku-*'], ...LIMIT },
              ],
              quotas: [
                { name: 'opus', when: { model: 'claude-opus-*' }, per: 'user', outputTokens: '15k/day' },
              ],
            },
            store: makeStore(),
            logger: { info() {}, warn() {}, error() {} },
          });
          cleanups.push(() => governor.close({ drainMs: 100 }));
          return { governor, claude: governor.govern(new Anthropic({ apiKey: 'k', baseURL })) };
        }) as [Process, Process];
        // The ledger knows both before anything is used.
        expect(await run(other, mode, 'ben', OPUS)).toBe('ok');
        const before = levelsOf(other.governor);
        expect(await run(one, mode, 'ada', SONNET)).toBe('ok');
        await until(() => one.governor.snapshot().inFlight === 0);
        // Told with the next message, half a second later at the most; a call asks for the levels.
        let used = [0, 0];
        for (let look = 0; look < 40 && (used[1] ?? 0) < 1_000; look++) {
          await pause(25);
          await run(other, mode, `user ${look}`, OPUS);
          const { at, levels } = levelsOf(other.governor);
          used = levels.map(
            (level, n) => (before.levels[n] ?? 0) + (RATES[n] ?? 0) * (at - before.at) - level,
          );
        }
        // To within what comes back in the time that a message takes, and what the calls that look take.
        expect(used[0]).toBeGreaterThan(0.95 * input - 500);
        expect(used[0]).toBeLessThan(1.05 * input + 2_000);
        expect(used[1]).toBeGreaterThan(0.95 * output - 500);
        expect(used[1]).toBeLessThan(1.05 * output + 2_000);
        expect(await run(other, mode, 'ada', OPUS)).toBe('opus');
        expect(await run(other, mode, 'dora', OPUS)).toBe('ok');
      },
    );
  });
});

type Process = { governor: Governor; claude: Anthropic };

const levelsOf = (governor: Governor) => {
  const limits = governor.snapshot().buckets.find(({ name }) => name === 'opus')?.limits;
  const levels = [limits?.inputTokens?.level ?? 0, limits?.outputTokens?.level ?? 0];
  return { at: performance.now(), levels };
};

async function run({ governor, claude }: Process, mode: string, user: string, model: string) {
  const params = ask('hello', { model, max_tokens: 20_000 });
  try {
    await governor.run({ user }, () =>
      mode === 'stream' ? claude.messages.stream(params).finalMessage() : claude.messages.create(params),
    );
    return 'ok';
  } catch (error) {
    return isHeadgateError(error) ? error.rule : String(error);
  }
}
