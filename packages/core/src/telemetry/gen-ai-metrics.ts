import type { Attributes } from '@opentelemetry/api';
import { type Charge, totalsOf } from '../settlement/charges.ts';
import { billedByModel } from './billed.ts';
import { ATTRIBUTES as A } from './names.ts';
import { serverOf } from './set.ts';
import type { Telemetry } from './telemetry.ts';
import type { AttemptEnd, CallInfo } from './types.ts';

/** What the conventions want of one call, by the names that are asked for. */
export function recordGenAi(
  telemetry: Telemetry,
  info: CallInfo,
  seen: {
    readonly seconds: number;
    readonly last: AttemptEnd | undefined;
    readonly firstTokenMs: number | undefined;
    readonly failed: string | undefined;
  },
): void {
  const { seconds, last, firstTokenMs, failed } = seen;
  const { metrics, config } = telemetry;
  const labels = genAiLabels(telemetry, info, last?.responseModel);
  const withError = failed === undefined ? labels : { ...labels, [A.errorType]: failed };
  const billed = last === undefined ? new Map() : billedByModel(last, info.call.model);
  const totals = last?.charges === undefined ? undefined : totalsOf(last.charges);

  if (config.semconv !== 'v1.41') {
    metrics.record('inferenceDuration', seconds, withError);
    if (firstTokenMs !== undefined) metrics.record('firstChunk', firstTokenMs / 1000, labels);
    for (const [model, charges] of billed)
      countTokens(telemetry, genAiLabels(telemetry, info, model), charges);
    if (totals === undefined) {
      // A call without usage counts as 0: the convention's way to tell it from one that was never made.
      const modal = { ...labels, [A.genAiModality]: 'unknown' };
      metrics.add('inputTokens', 0, modal);
      metrics.add('outputTokens', 0, modal);
    } else {
      metrics.record('inputPerCall', totals.totalInput, labels);
      metrics.record('outputPerCall', totals.outputTokens, labels);
    }
  }
  if (config.semconv !== 'latest') {
    metrics.record('operationDuration', seconds, withError);
    if (firstTokenMs !== undefined) metrics.record('operationFirstChunk', firstTokenMs / 1000, labels);
    if (totals !== undefined) {
      metrics.record('tokenUsage', totals.totalInput, { ...labels, [A.genAiTokenType]: 'input' });
      metrics.record('tokenUsage', totals.outputTokens, { ...labels, [A.genAiTokenType]: 'output' });
    }
  }
}

/** The conventions' counters of tokens, for the charges of one model. */
export function countTokens({ metrics }: Telemetry, labels: Attributes, charges: readonly Charge[]): void {
  const modal = { ...labels, [A.genAiModality]: 'unknown' };
  const { totalInput, outputTokens, cacheReadTokens, written, thinkingTokens } = totalsOf(charges);
  metrics.add('inputTokens', totalInput, modal);
  metrics.add('outputTokens', outputTokens, modal);
  metrics.add('cacheReadTokens', cacheReadTokens, modal);
  metrics.add('cacheWriteTokens', written, modal);
  if (thinkingTokens > 0) metrics.add('reasoningTokens', thinkingTokens, modal);
}

/** The time between two chunks of a stream. */
export function recordChunk({ metrics, config }: Telemetry, seconds: number, labels: Attributes): void {
  if (config.semconv !== 'v1.41') metrics.record('chunkInterval', seconds, labels);
  if (config.semconv !== 'latest') metrics.record('operationChunkInterval', seconds, labels);
}

export function genAiLabels(
  telemetry: Telemetry,
  { call, url, provider }: CallInfo,
  responseModel: string | undefined,
): Attributes {
  const { address, port } = serverOf(url);
  const { models } = telemetry;
  // What the API calls the model that has answered is one of its names.
  if (responseModel !== undefined) models.exists(responseModel);
  return telemetry.genAiLabels.of(
    { [A.serverAddress]: address, [A.serverPort]: port },
    {
      [A.genAiRequestModel]: models.of(call.model),
      [A.genAiResponseModel]: responseModel === undefined ? undefined : models.of(responseModel),
      [A.genAiOperation]: 'chat',
      [A.genAiProvider]: provider,
    },
  );
}
