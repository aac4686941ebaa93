import Latest from '@anthropic-ai/sdk';
import { isHeadgateError } from '@headgate/core';
import Oldest from 'anthropic-sdk-oldest';
import { describe, expect, it } from 'vitest';
import { ask, isSettled, rejection, startGoverned, until } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

/** The oldest SDK with the middleware option, and the latest. */
for (const [name, SDK] of [
  ['oldest', Oldest as unknown as typeof Latest],
  ['latest', Latest],
] as const) {
  describe(`the ${name} supported SDK`, () => {
    async function setUp(config = {}) {
      const telemetry = startTelemetry({ register: true });
      // The old one asks for a version of the API that the new one has left behind: both are served.
      const { api, governor } = await startGoverned({ config: { retries: { maxDelay: '10ms' }, ...config } });
      const claude = governor.govern(new SDK({ apiKey: 'k', baseURL: api.url }));
      return { api, governor, claude, ...telemetry };
    }

    it('answers, streams, counts, retries and lists', async () => {
      const { claude, api, governor } = await setUp();
      expect((await claude.messages.create(ask())).type).toBe('message');
      expect((await claude.messages.stream(ask()).finalMessage()).stop_reason).toBe('end_turn');
      api.inject({ kind: 'status', status: 529 });
      expect((await claude.messages.create(ask())).type).toBe('message');
      expect(
        (await claude.messages.countTokens({ model: ask().model, messages: ask().messages })).input_tokens,
      ).toBeGreaterThan(0);
      expect((await claude.models.list()).data.length).toBeGreaterThan(0);
      await until(() => isSettled(governor));
    });

    it('makes one attempt where it would have made three', async () => {
      const { claude, api } = await setUp({ retries: { maxAttempts: 1 } });
      for (const fault of [
        { kind: 'status', status: 500 },
        { kind: 'reset', at: 'before-headers' },
      ] as const) {
        api.reset();
        api.inject({ ...fault, times: Number.POSITIVE_INFINITY });
        await rejection(claude.messages.create(ask(), { maxRetries: 2 }));
        expect(api.received).toHaveLength(1);
      }
    });

    it('hands a refusal on from create() and stream()', async () => {
      const { claude, governor } = await setUp({ quotas: [{ name: 'q', requests: '1/day' }] });
      await claude.messages.create(ask());
      const fromCreate = await rejection(claude.messages.create(ask()));
      const fromStream = await rejection(claude.messages.stream(ask()).finalMessage());
      for (const error of [fromCreate, fromStream]) {
        // A stream of another copy of the SDK may wrap what it did not make: then ours is the cause.
        const ours = isHeadgateError(error) ? error : (error as Error).cause;
        expect(ours).toMatchObject({ code: 'quota_exceeded', rule: 'q' });
      }
      expect(isSettled(governor)).toBe(true);
    });

    it('counts its tokens on one span, whoever emits it', async () => {
      const { claude, spans } = await setUp();
      await claude.messages.create(ask());
      const counting = spans.spans.filter(
        ({ attributes }) => attributes['gen_ai.usage.output_tokens'] !== undefined,
      );
      expect(counting.map(({ attributes }) => attributes['gen_ai.usage.output_tokens'])).toEqual([40]);
      expect(counting[0]?.scope).toBe(name === 'latest' ? 'com.anthropic.sdk.typescript' : '@headgate/core');
    });

    it('closes the connection on break', async () => {
      const { governor } = await setUp();
      const slow = await startGoverned({
        api: { latency: { timeToFirstTokenMs: 5, tokensPerSecond: 200, flushMs: 10 }, output: () => 2_000 },
      });
      const claude = governor.govern(new SDK({ apiKey: 'k', baseURL: slow.api.url }));
      for await (const event of await claude.messages.create({
        ...ask('x', { max_tokens: 4_000 }),
        stream: true,
      })) {
        if (event.type === 'content_block_delta') break;
      }
      await until(() => slow.api.ledger.count({ disconnected: true }) === 1);
      await until(() => isSettled(governor));
    });
  });
}
