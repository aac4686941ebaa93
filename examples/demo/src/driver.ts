import { setMaxListeners } from 'node:events';
import { TRACE_HEADER } from './telemetry.ts';
import type { PlannedCall } from './traffic.ts';

/** How a call ended: answered whole, refused by Headgate, any other error, or still open when we stopped waiting. */
export type Outcome = 'ok' | 'refused' | 'failed' | 'unfinished';

export interface CallResult {
  readonly call: PlannedCall;
  readonly outcome: Outcome;
  /** HTTP status; undefined when there was no answer. */
  readonly status: number | undefined;
  /** From the moment for which the call was planned to the last byte of its answer. */
  readonly ms: number;
  readonly traceId: string | undefined;
  /** What the answer said when it was none. */
  readonly problem: string | undefined;
}

/** The state of a run while it goes on. */
export interface Counts {
  inFlight: number;
  ok: number;
  refused: number;
  failed: number;
  unfinished: number;
}

export interface Drive {
  readonly counts: Readonly<Counts>;
  /** Resolves when every call has ended, or `patienceMs` after the last one was due. Never rejects. */
  readonly results: Promise<CallResult[]>;
}

/** Sends each call at its time, whatever became of those before: users do not wait for each other. */
export function drive(
  baseUrl: string,
  calls: readonly PlannedCall[],
  { patienceMs, signal }: { patienceMs: number; signal: AbortSignal },
): Drive {
  const counts: Counts = { inFlight: 0, ok: 0, refused: 0, failed: 0, unfinished: 0 };
  const startedAt = performance.now();
  const lastAtMs = calls.reduce((last, { atMs }) => Math.max(last, atMs), 0);
  const stop = AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(lastAtMs + patienceMs))]);
  // Every call listens to it.
  setMaxListeners(0, stop);

  async function perform(call: PlannedCall): Promise<CallResult> {
    await until(startedAt + call.atMs, stop);
    counts.inFlight += 1;
    const ended = await send(baseUrl, call, stop);
    counts.inFlight -= 1;
    counts[ended.outcome] += 1;
    return { call, ...ended, ms: performance.now() - startedAt - call.atMs };
  }

  return { counts, results: Promise.all(calls.map(perform)) };
}

type Ended = Omit<CallResult, 'call' | 'ms'>;

async function send(baseUrl: string, call: PlannedCall, signal: AbortSignal): Promise<Ended> {
  let status: number | undefined;
  let traceId: string | undefined;
  try {
    signal.throwIfAborted();
    const response = await fetch(baseUrl + call.path, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-user': call.user },
      body: JSON.stringify({ prompt: call.prompt }),
      signal,
    });
    status = response.status;
    traceId = response.headers.get(TRACE_HEADER) ?? undefined;
    // A stream is read to its end as it comes: an answer cut short rejects.
    const body = await response.text();
    if (response.ok) return { outcome: 'ok', status, traceId, problem: undefined };
    const { isRefusal, message } = readError(body);
    return { outcome: isRefusal ? 'refused' : 'failed', status, traceId, problem: message };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return { outcome: signal.aborted ? 'unfinished' : 'failed', status, traceId, problem };
  }
}

/** An error is Headgate's own when its `error_code` says so; the API has no such codes. */
function readError(body: string): { isRefusal: boolean; message: string } {
  try {
    const error = JSON.parse(body)?.error;
    const code: unknown = error?.details?.error_code;
    return {
      isRefusal: typeof code === 'string' && code.startsWith('headgate_'),
      message: String(error?.message ?? body),
    };
  } catch {
    return { isRefusal: false, message: body };
  }
}

/** Resolves at `at` on the clock of `performance.now()`, or at once when there is nothing to wait for any more. */
function until(at: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.max(0, at - performance.now()));
    signal.addEventListener('abort', done);
  });
}
