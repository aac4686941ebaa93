import Anthropic from '@anthropic-ai/sdk';
import { createGovernor, type Snapshot } from '@headgate/core';
import { governedApp } from './app.ts';
import { type CallResult, drive } from './driver.ts';
import { listen } from './listen.ts';
import { classTable, heading, lines, traceLines } from './report.ts';
import { type Line, line, whole } from './screen.ts';
import { statsOf } from './stats.ts';
import { type Metered, meter, startTelemetry, waitsByTrace } from './telemetry.ts';
import { drawTrace } from './trace.ts';
import type { PlannedCall } from './traffic.ts';

/** The cheapest model and answers of a line or two: the whole run costs about half a cent. */
const MODEL = 'claude-haiku-4-5';
const MAX_TOKENS = 64;
const USERS = ['ada', 'grace', 'edsger'] as const;
const CALLS = 10;
/** Milliseconds between two calls. */
const GAP_MS = 700;
const PATIENCE_MS = 60_000;

export interface RealResult {
  readonly results: readonly CallResult[];
  readonly waits: ReadonlyMap<string, number>;
  readonly metered: Metered;
  readonly snapshot: Snapshot;
  readonly trace: string | undefined;
}

export const REAL_TITLE = `${CALLS} small calls of ${USERS.length} users to ${MODEL} at Anthropic, through Headgate`;

/** A few small calls to Anthropic. The limits are not configured: Headgate learns them from the responses. */
export async function runReal(apiKey: string, signal: AbortSignal): Promise<RealResult> {
  await using telemetry = startTelemetry();
  const governor = createGovernor();
  const client = new Anthropic({ apiKey, authToken: null });
  await using server = await listen(governedApp(governor, client, { model: MODEL, maxTokens: MAX_TOKENS }));
  try {
    const results = await drive(server.url, planReal(), { patienceMs: PATIENCE_MS, signal }).results;
    signal.throwIfAborted();
    const snapshot = governor.snapshot();
    const streamed = results.find(({ call, outcome }) => call.path === '/chat/stream' && outcome === 'ok');
    return {
      results,
      snapshot,
      waits: waitsByTrace(telemetry.spans.spans),
      metered: await meter(telemetry),
      trace: streamed?.traceId === undefined ? undefined : drawTrace(telemetry.spans, streamed.traceId),
    };
  } finally {
    await governor.close({ drainMs: 1_000 });
  }
}

function planReal(): PlannedCall[] {
  return Array.from({ length: CALLS }, (_, index) => ({
    atMs: index * GAP_MS,
    user: USERS[index % USERS.length] ?? USERS[0],
    callerClass: 'ordinary',
    path: index % 2 === 0 ? '/chat' : '/chat/stream',
    answerTokens: MAX_TOKENS,
    prompt: `In one sentence: what does a lock keeper do at hour ${index + 1} of the day?`,
  }));
}

export function realReport({ results, waits, metered, snapshot, trace }: RealResult): Line[] {
  const limits = snapshot.buckets.flatMap(({ name, limits: known }) =>
    Object.entries(known).map(([dimension, { perMinute, source }]) => [
      name,
      dimension,
      `${whole(perMinute)} a minute`,
      source,
    ]),
  );
  const problems = new Set(results.flatMap(({ problem }) => (problem === undefined ? [] : [problem])));
  const { attempts, status429, inputTokens, outputTokens, usd } = metered;
  return [
    ...heading('Calls (median and p95 in seconds)'),
    ...classTable(
      USERS.map((user) => [
        user,
        statsOf(
          results.filter(({ call }) => call.user === user),
          waits,
        ),
      ]),
    ),
    line(),
    line(`  ${whole(attempts)} attempts, ${whole(status429)} of them answered 429`),
    line(`  ${whole(inputTokens)} input and ${whole(outputTokens)} output tokens, ${usd.toFixed(4)} USD`),
    ...[...problems].map((problem) => line(`  ${problem}`, 'red')),
    ...heading('Limits, as the responses told them'),
    ...lines(limits, 2),
    ...(trace === undefined ? [] : traceLines('One streamed call', trace)),
  ];
}
