import type { Span } from '@opentelemetry/api';
import { ATTRIBUTES as A } from './names.ts';

/** The scope of the spans that the Anthropic SDK itself emits; those of a platform's package have its name behind it. */
const SDK_SCOPE = 'com.anthropic.sdk.typescript';

/** The values of `gen_ai.provider.name` that the SDK's clients give: for Foundry, and for Claude on AWS, the first. */
export const PROVIDERS = ['anthropic', 'aws.bedrock', 'gcp.vertex_ai'] as const;
export type Provider = (typeof PROVIDERS)[number];

/** By the product that a client's `user-agent` begins with. */
const BY_AGENT: readonly [prefix: string, provider: Provider][] = [
  ['AnthropicBedrock', 'aws.bedrock'],
  ['AnthropicVertex', 'gcp.vertex_ai'],
];

/** What spans of both SDK lines show, though the API knows nothing of it. */
interface Shown {
  readonly instrumentationScope?: { readonly name?: unknown };
  readonly instrumentationLibrary?: { readonly name?: unknown };
  readonly attributes?: Readonly<Record<string, unknown>>;
}

/** Whether a span is the Anthropic SDK's own for the call. */
export function isSdkSpan(span: Span | undefined): boolean {
  if (span === undefined || !span.isRecording()) return false;
  const { instrumentationScope, instrumentationLibrary } = span as Shown;
  const name = (instrumentationScope ?? instrumentationLibrary)?.name;
  return typeof name === 'string' && (name === SDK_SCOPE || name.startsWith(`${SDK_SCOPE}.`));
}

/** The platform that serves a call: as the SDK's own span says it, or else as its user agent shows it. */
export function providerOf(userAgent: string | null, active: Span | undefined): Provider {
  if (isSdkSpan(active)) {
    const told = (active as Shown).attributes?.[A.genAiProvider];
    const known = PROVIDERS.find((provider) => provider === told);
    if (known !== undefined) return known;
  }
  return BY_AGENT.find(([prefix]) => userAgent?.startsWith(prefix))?.[1] ?? 'anthropic';
}
