import Anthropic from '@anthropic-ai/sdk';
import type { RecordedSpan } from '@headgate/testing';
import type { Attributes } from '@opentelemetry/api';
import { describe, expect, it } from 'vitest';
import { ask, startGoverned } from '../support/governed.ts';
import { startTelemetry } from '../support/telemetry.ts';

const sum = (spans: readonly { attributes: Attributes }[], name: string) =>
  spans.reduce((total, { attributes }) => total + Number(attributes[name] ?? 0), 0);

/** What whoever adds up `gen_ai.usage.*` over all spans of all scopes arrives at. */
const totals = (spans: readonly RecordedSpan[]) => ({
  input: sum(spans, 'gen_ai.usage.input_tokens'),
  output: sum(spans, 'gen_ai.usage.output_tokens'),
  cacheRead: sum(spans, 'gen_ai.usage.cache_read.input_tokens'),
  cacheWrite: sum(spans, 'gen_ai.usage.cache_write.input_tokens'),
});

describe('the tokens on all gen_ai spans together', () => {
  for (const openTelemetry of [true, false]) {
    for (const spans of ['auto', 'off'] as const) {
      if (!openTelemetry && spans === 'off') continue; // Then there is no such span at all.
      it(`are the API’s own, with the SDK’s spans ${openTelemetry ? 'on' : 'off'} and ours ${spans}`, async () => {
        const telemetry = startTelemetry({ register: true });
        const { api, governor, claude } = await startGoverned({
          config: { telemetry: { spans }, retries: { maxDelay: '5ms' } },
          client: openTelemetry ? {} : { openTelemetry: false },
          governor: { meterProvider: telemetry.meterProvider },
        });
        const system = [
          {
            type: 'text' as const,
            text: 'The lock keeper reads the gauge before the gate moves. '.repeat(200),
            cache_control: { type: 'ephemeral' as const },
          },
        ];
        const run = (fn: () => Promise<unknown>) => governor.run({ user: 'ada' }, fn);
        await run(() => claude.messages.create(ask()));
        await run(() => claude.messages.stream(ask()).finalMessage());
        for (let i = 0; i < 3; i++) await run(() => claude.messages.create(ask('cached', { system })));
        api.inject({ kind: 'status', status: 529 });
        await run(() => claude.messages.create(ask('again')));
        await run(() => claude.messages.create(ask()).withResponse());

        const ledger = api.ledger.totals();
        expect(ledger.cacheRead).toBeGreaterThan(1_000);
        const truth = {
          input: ledger.inputTokens + ledger.cacheRead,
          output: ledger.outputTokens,
          cacheRead: ledger.cacheRead,
          cacheWrite: ledger.cacheCreation,
        };
        expect(totals(telemetry.spans.spans)).toEqual(truth);
        await telemetry.collect();
        const counter = (name: string) => telemetry.metrics.value(`gen_ai.client.inference.usage.${name}`);
        expect({
          input: counter('input_tokens'),
          output: counter('output_tokens'),
          cacheRead: counter('cache_read.input_tokens'),
          cacheWrite: counter('cache_write.input_tokens'),
        }).toEqual(truth);
      });
    }
  }
});

/** The SDK's clients of other platforms, in what they say of themselves to OpenTelemetry and to the API. */
const PLATFORMS = [
  { platform: undefined, agent: 'Anthropic', provider: 'anthropic' },
  { platform: 'bedrock', agent: 'AnthropicBedrock', provider: 'aws.bedrock' },
  { platform: 'bedrock', agent: 'AnthropicBedrockMantle', provider: 'aws.bedrock' },
  { platform: 'vertex', agent: 'AnthropicVertex', provider: 'gcp.vertex_ai' },
  { platform: 'foundry', agent: 'AnthropicFoundry', provider: 'anthropic' },
  { platform: 'aws', agent: 'AnthropicAws', provider: 'anthropic' },
] as const;

describe('a client of another platform', () => {
  for (const { platform, agent, provider } of PLATFORMS) {
    class Client extends Anthropic {
      constructor(options: ConstructorParameters<typeof Anthropic>[0]) {
        super(options);
        Object.assign(this, { _genAIProviderName: provider });
      }
      protected override getUserAgent() {
        return `${agent}/JS 1.1.3`;
      }
      _instrumentationScope() {
        return { version: '1.1.3', ...(platform === undefined ? {} : { platform }) };
      }
    }
    // Was: two spans with tokens, ours beside that of the platform's scope, and all of them of provider "anthropic".
    it.each([true, false])(
      `${agent}, with its spans on: %s, has its tokens on one span and its provider as the SDK says it`,
      async (isOn) => {
        const telemetry = startTelemetry({ register: true });
        const { api, governor } = await startGoverned({
          governor: { meterProvider: telemetry.meterProvider },
        });
        const options = { apiKey: 'k', baseURL: api.url, ...(isOn ? {} : { openTelemetry: false as const }) };
        const claude = governor.govern(new Client(options));
        await claude.messages.create(ask());
        await claude.messages.stream(ask()).finalMessage();
        const counting = telemetry.spans.spans.filter(
          ({ attributes }) => 'gen_ai.usage.output_tokens' in attributes,
        );
        const scope = `com.anthropic.sdk.typescript${platform === undefined ? '' : `.${platform}`}`;
        const expected = [isOn ? scope : '@headgate/core', provider];
        expect(
          counting.map(({ scope: from, attributes }) => [from, attributes['gen_ai.provider.name']]),
        ).toEqual([expected, expected]);
        await telemetry.collect();
        const points = telemetry.metrics.points('gen_ai.client.inference.duration');
        expect(new Set(points.map(({ attributes }) => attributes['gen_ai.provider.name']))).toEqual(
          new Set([provider]),
        );
      },
    );
  }
});
