import {
  type Attributes,
  type Context,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { totalsOf } from '../settlement/charges.ts';
import { ATTRIBUTES as A } from './names.ts';
import { isSdkSpan } from './provider.ts';
import { serverAttributes, setDefined } from './set.ts';
import type { Telemetry } from './telemetry.ts';
import type { AttemptEnd, CallInfo } from './types.ts';

/**
 * The conventions' own span of a call, where the SDK has none. A second one would double every sum of tokens, so it is
 * the live active span that decides, and no version.
 */
export function startChat(telemetry: Telemetry, info: CallInfo): ChatSpan | undefined {
  const { call, context } = info;
  const { spans } = telemetry.config;
  if (call.kind !== 'messages' || spans === 'off') return undefined;
  if (spans === 'auto' && isSdkSpan(trace.getSpan(context))) return undefined;
  return new ChatSpan(telemetry, info);
}

export class ChatSpan {
  readonly context: Context;
  readonly #telemetry: Telemetry;
  readonly #span: Span;

  constructor(telemetry: Telemetry, { call, url, provider, context }: CallInfo) {
    const attributes: Attributes = {
      [A.genAiOperation]: 'chat',
      [A.genAiProvider]: provider,
      [A.genAiRequestModel]: call.model,
      ...serverAttributes(url),
    };
    if (call.maxTokens !== undefined) attributes[A.genAiRequestMaxTokens] = call.maxTokens;
    if (call.isStreaming) attributes[A.genAiRequestStream] = true;
    const { temperature, top_p, top_k } = call.body ?? {};
    if (typeof temperature === 'number') attributes[A.genAiRequestTemperature] = temperature;
    if (typeof top_p === 'number') attributes[A.genAiRequestTopP] = top_p;
    if (typeof top_k === 'number') attributes[A.genAiRequestTopK] = top_k;
    this.#telemetry = telemetry;
    this.#span = telemetry.tracer.startSpan(
      `chat ${call.model}`,
      { kind: SpanKind.CLIENT, attributes },
      context,
    );
    this.context = trace.setSpan(context, this.#span);
  }

  end(last: AttemptEnd | undefined, firstTokenMs: number | undefined, failed: string | undefined): void {
    const span = this.#span;
    if (last !== undefined) this.#describe(last, firstTokenMs);
    if (failed !== undefined) {
      span.setAttribute(A.errorType, failed);
      span.setStatus({ code: SpanStatusCode.ERROR });
    }
    span.end();
  }

  #describe(end: AttemptEnd, firstTokenMs: number | undefined): void {
    const totals = end.charges === undefined ? undefined : totalsOf(end.charges);
    const { semconv } = this.#telemetry.config;
    const written = totals?.written;
    setDefined(this.#span, {
      [A.genAiResponseModel]: end.responseModel,
      [A.genAiResponseId]: end.messageId,
      [A.genAiInputTokens]: totals?.totalInput,
      [A.genAiOutputTokens]: totals?.outputTokens,
      [A.genAiCacheRead]: totals?.cacheReadTokens,
      [A.genAiCacheWrite]: semconv === 'v1.41' ? undefined : written,
      [A.genAiCacheCreation]: semconv === 'latest' ? undefined : written,
      [A.genAiReasoning]: totals?.thinkingTokens || undefined,
      [A.genAiTimeToFirstChunk]: firstTokenMs === undefined ? undefined : firstTokenMs / 1000,
      [A.cost]: totals?.isUnpriced === false ? totals.usd : undefined,
    });
    if (end.stopReason !== undefined) this.#span.setAttribute(A.genAiFinishReasons, [end.stopReason]);
  }
}
