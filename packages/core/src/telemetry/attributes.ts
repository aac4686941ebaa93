import type { Attributes, Span } from '@opentelemetry/api';
import { totalInput } from '../settlement/usage.ts';
import { ATTRIBUTES as A } from './names.ts';
import type { AttemptEnd } from './types.ts';

/** The scope of the spans that the Anthropic SDK itself emits. */
const SDK_SCOPE = 'com.anthropic.sdk.typescript';

/** Whether a span is the Anthropic SDK's own for the call. */
export function isSdkSpan(span: Span | undefined): boolean {
  if (span === undefined || !span.isRecording()) return false;
  // The scope is no part of the API, but both SDK lines show it on their spans, under one name or the other.
  const shown = span as {
    instrumentationScope?: { name?: unknown };
    instrumentationLibrary?: { name?: unknown };
  };
  return (shown.instrumentationScope ?? shown.instrumentationLibrary)?.name === SDK_SCOPE;
}

/** What a `chat` span says of an answer. */
export function setUsage(span: Span, end: AttemptEnd): void {
  const { usage } = end;
  setDefined(span, {
    [A.genAiResponseModel]: end.responseModel,
    [A.genAiResponseId]: end.messageId,
    [A.genAiInputTokens]: usage === undefined ? undefined : totalInput(usage),
    [A.genAiOutputTokens]: usage?.outputTokens,
    [A.genAiCacheRead]: usage?.cacheReadTokens,
    [A.genAiCacheWrite]:
      usage === undefined ? undefined : usage.cacheWrite5mTokens + usage.cacheWrite1hTokens,
    [A.genAiTimeToFirstChunk]: end.firstTokenMs === undefined ? undefined : end.firstTokenMs / 1000,
    [A.cost]: end.usd,
  });
  if (end.stopReason !== undefined) span.setAttribute(A.genAiFinishReasons, [end.stopReason]);
}

export function setDefined(
  span: Span,
  attributes: Record<string, string | number | boolean | undefined>,
): void {
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined) span.setAttribute(name, value);
}

const servers = new Map<string, Attributes>();

/** Address and port of the API; one URL has one answer, and a process talks to few. */
export function serverAttributes(url: string): Attributes {
  const end = url.indexOf('/', url.indexOf('://') + 3);
  const origin = end === -1 ? url : url.slice(0, end);
  let known = servers.get(origin);
  if (known === undefined) {
    const { hostname, port, protocol } = new URL(origin);
    known = {
      [A.serverAddress]: hostname,
      [A.serverPort]: Number(port) || (protocol === 'https:' ? 443 : 80),
    };
    if (servers.size < 64) servers.set(origin, known);
  }
  return known;
}
