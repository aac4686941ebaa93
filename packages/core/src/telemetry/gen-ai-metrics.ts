import type { Attributes } from '@opentelemetry/api';
import { totalInput } from '../settlement/usage.ts';
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
  const usage = last?.usage;
  const input = usage === undefined ? 0 : totalInput(usage);
  const output = usage?.outputTokens ?? 0;

  if (config.semconv !== 'v1.41') {
    metrics.record('inferenceDuration', seconds, withError);
    if (firstTokenMs !== undefined) metrics.record('firstChunk', firstTokenMs / 1000, labels);
    // A call without usage counts as 0: the convention's way to tell it from one that was never made.
    const modal = { ...labels, [A.genAiModality]: 'unknown' };
    metrics.add('inputTokens', input, modal);
    metrics.add('outputTokens', output, modal);
    if (usage !== undefined) {
      metrics.add('cacheReadTokens', usage.cacheReadTokens, modal);
      metrics.add('cacheWriteTokens', usage.cacheWrite5mTokens + usage.cacheWrite1hTokens, modal);
      if (usage.thinkingTokens > 0) metrics.add('reasoningTokens', usage.thinkingTokens, modal);
      metrics.record('inputPerCall', input, labels);
      metrics.record('outputPerCall', output, labels);
    }
  }
  if (config.semconv !== 'latest') {
    metrics.record('operationDuration', seconds, withError);
    if (firstTokenMs !== undefined) metrics.record('operationFirstChunk', firstTokenMs / 1000, labels);
    if (usage !== undefined) {
      metrics.record('tokenUsage', input, { ...labels, [A.genAiTokenType]: 'input' });
      metrics.record('tokenUsage', output, { ...labels, [A.genAiTokenType]: 'output' });
    }
  }
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
  const open = {
    [A.genAiRequestModel]: call.model,
    [A.genAiResponseModel]: responseModel,
    [A.serverAddress]: address,
    [A.serverPort]: port,
  };
  return telemetry.genAiLabels.of(open, { [A.genAiOperation]: 'chat', [A.genAiProvider]: provider });
}
