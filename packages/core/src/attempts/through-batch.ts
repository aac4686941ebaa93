import { onAbort } from '../abort-hub.ts';
import { type BatchOutcome, errorOf } from '../batch/outcome.ts';
import { AbortedError } from '../errors.ts';
import type { Plan } from '../policy/plan.ts';
import { payerOf } from '../request/billing.ts';
import type { ApiRequest, Call } from '../request/read.ts';
import type { CallStory } from '../telemetry/types.ts';
import { refuse } from './gate.ts';
import type { Parts, Rules } from './parts.ts';

/** Whether a call goes by batch: its lane does, and a batch can hold it. */
export function goesByBatch(
  parts: Parts,
  rules: Rules,
  request: ApiRequest,
  call: Call,
  plan: Plan,
): boolean {
  if (call.kind !== 'messages' || rules.config.lanes[plan.lane]?.via !== 'batch') return false;
  // Streams have somebody who looks on; what a beta asks for is in headers, of which a batch has one set for all.
  const isAsIs = call.body !== undefined && !call.isStreaming && !request.headers.has('anthropic-beta');
  // The API bills no customer for a batch: it refuses such a request.
  const isHeld = isAsIs && payerOf(call.body) === 'self';
  if (!isHeld) {
    parts.once.warn(
      'HG_BATCH_DIRECT',
      `lane ${plan.lane}`,
      `lane "${plan.lane}" goes by batch, and a stream, a beta or what a customer pays cannot: such calls go directly, at full price`,
    );
  }
  return isHeld;
}

/**
 * A call that waits for its answer in the batch lane. Only the caller's own deadline bounds it: a batch may take a day,
 * whatever calls may take otherwise. When its caller leaves, the request goes on, and its result is for nobody.
 */
export async function throughBatch(
  parts: Parts,
  account: string,
  call: Call,
  plan: Plan,
  signals: readonly AbortSignal[],
  story: CallStory,
): Promise<Response> {
  const startedAt = parts.clock.now();
  let outcome: BatchOutcome;
  try {
    outcome = await bounded(
      parts,
      parts.batchLane(account).through(call.body),
      signals,
      plan.caller.deadlineAt,
    );
  } catch (error) {
    refuse(parts, story, error, startedAt);
    throw error;
  }
  story.passed();
  if (outcome.type === 'succeeded') {
    story.end('ok', parts.clock.now());
    return json(200, outcome.message);
  }
  const error = errorOf('', outcome);
  const status = 'status' in error && typeof error.status === 'number' ? error.status : 500;
  story.end('error', parts.clock.now(), outcome.type);
  if (outcome.type !== 'errored') throw error;
  return json(status, outcome.error);
}

const json = (status: number, body: object) =>
  new Response(JSON.stringify(body), {
    status,
    headers: { 'content-type': 'application/json', 'x-should-retry': 'false' },
  });

async function bounded<T>(
  { alarms, slices }: Parts,
  work: Promise<T>,
  signals: readonly AbortSignal[],
  deadlineAt: number | undefined,
): Promise<T> {
  let release = () => {};
  const over = new Promise<never>((_, reject) => {
    const abort = () =>
      reject(new AbortedError('the caller hung up while the call was in a batch', { reason: 'aborted' }));
    const onDeadline = () =>
      reject(new AbortedError('the deadline passed while the call was in a batch', { reason: 'deadline' }));
    const timer = deadlineAt === undefined ? undefined : alarms.set(deadlineAt, onDeadline);
    const releases = signals.map((signal) => onAbort(signal, () => slices.run(abort)));
    if (signals.some((signal) => signal.aborted)) abort();
    release = () => {
      timer?.cancel();
      for (const release of releases) release();
    };
  });
  try {
    return await Promise.race([work, over]);
  } finally {
    release();
    // Whoever leaves, the other promise may still fail, for nobody.
    work.catch(() => undefined);
    over.catch(() => undefined);
  }
}
