import type { Middleware } from '@anthropic-ai/sdk';
import { createGovernor, findHeadgateError } from '@headgate/core';
import { ATTRIBUTES as A, SPANS } from '@headgate/core/telemetry';
import type { Attributes } from '@opentelemetry/api';
import type { PlannedJob } from '../arrivals.ts';
import type { Rehearsable } from '../load.ts';
import { seeded } from '../random.ts';
import { type Outcome, unknownYet } from '../rehearsal.ts';
import { type Progress, type RunResult, windowOf } from '../run.ts';
import { arrivalsOf } from '../sources.ts';
import { Tally } from '../tally.ts';
import { startApi, textOf } from './api.ts';
import { type MachineReport, watchMachine } from './machine.ts';
import { loadPeers } from './peers.ts';
import { Told } from './told.ts';

const KEY = 'not-a-key';
/** A timer set for longer would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** How often an interruption is looked for while nothing else comes. */
const LOOK_MS = 500;

export interface RealResult extends RunResult {
  readonly machine: MachineReport;
  /** Calls that ended in an error that is neither Headgate's nor a 429 of the API, by what it said. */
  readonly failures: ReadonlyMap<string, number>;
  /** It was ended before its time; `duration` is how long it went. */
  readonly isInterrupted: boolean;
}

/** Ends a real run: at first no more calls are made, and then none is waited for. */
export interface Interruption {
  readonly stop: AbortSignal;
  readonly abandon: AbortSignal;
}

/** Makes the calls of the traffic in real time, over HTTP, with the official SDK. @throws TraceError, MissingPeerError */
export async function runReal(
  loaded: Rehearsable,
  {
    seed = loaded.traffic.seed,
    interruption: { stop, abandon },
    onProgress,
  }: { seed?: number; interruption: Interruption; onProgress?: (progress: Progress) => void },
): Promise<RealResult> {
  const { traffic, config, account: buckets } = loaded;
  const { duration, service } = traffic;
  const peers = await loadPeers();
  const { api, account, expect, forget } = await startApi(peers, { buckets, service, seed });
  const told = new Told();
  const silent = { info() {}, warn() {}, error() {} };
  const governor = createGovernor({ config: loaded.input, tracerProvider: told, logger: silent });
  const client = governor.govern(
    new peers.Anthropic({
      apiKey: KEY,
      baseURL: api.url,
      // Stated, so that the SDK does not refuse a large max_tokens that does not stream.
      timeout: MAX_TIMER_MS,
      middleware: [wayThere(service.network, seeded(seed))],
    }),
  );
  const tally = new Tally(account, config);
  const failures = new Map<string, number>();
  const machine = watchMachine();
  const startedAt = performance.now();
  const now = () => performance.now() - startedAt;

  async function make(job: PlannedJob, id: string): Promise<void> {
    const outcome: Outcome<PlannedJob> = unknownYet(job, now());
    const { user, lane, tenant, tier, route, model, maxTokens, isStreaming } = job;
    const body = {
      model,
      max_tokens: maxTokens,
      messages: [{ role: 'user' as const, content: textOf(job) }],
      metadata: { user_id: id },
    };
    const tell = (span: string, attributes: Attributes) => {
      if (span === SPANS.admission) passedGate(outcome, attributes, now());
      else if (span === SPANS.attempt) attempted(outcome, attributes);
    };
    let isTold = false;
    const admitted = (modelId: string) => {
      if (isTold || outcome.admittedAt === undefined || outcome.plan === undefined) return;
      isTold = true;
      outcome.plan = { ...outcome.plan, modelId };
      tally.admitted(outcome);
    };
    expect(id, job, admitted);
    try {
      await told.listen(tell, () =>
        governor.run({ user, lane, tenant, tier, route }, async () => {
          if (!isStreaming) return void (await client.messages.create(body, { signal: abandon }));
          const stream = await client.messages.create({ ...body, stream: true }, { signal: abandon });
          for await (const _ of stream);
        }),
      );
      outcome.isAnswered = true;
    } catch (error) {
      if (abandon.aborted) return;
      const ours = findHeadgateError(error);
      if (ours !== undefined) outcome.error = ours;
      else {
        outcome.isGivenUp = true;
        if (!(error instanceof peers.Anthropic.RateLimitError)) {
          const message = error instanceof Error ? error.message : String(error);
          failures.set(message, (failures.get(message) ?? 0) + 1);
        }
      }
    } finally {
      forget(id);
      // Let in here, and never there.
      admitted(job.model);
    }
    tally.ended(outcome);
  }

  const windowMs = windowOf(duration);
  let windows = 0;
  const windowOver = (to: number) => {
    tally.window(windows * windowMs, to);
    windows++;
  };
  const looked = setInterval(
    () => {
      while (now() >= (windows + 1) * windowMs && (windows + 1) * windowMs <= duration)
        windowOver((windows + 1) * windowMs);
      onProgress?.({ at: Math.min(now(), duration), of: duration, calls: tally.all.arrived });
    },
    Math.min(windowMs, LOOK_MS),
  );
  const open = new Set<Promise<void>>();
  let isCutShort = false;
  let until = duration;
  let made = 0;
  try {
    const hasModel = (id: string) => account.find(id) !== undefined;
    for await (const { at, job } of arrivalsOf(loaded, { seed, hasModel })) {
      isCutShort = at >= duration;
      if (isCutShort) break;
      await sleepUntil(at, now, stop);
      if (stop.aborted) {
        // What was due and is not made is asked of the model neither.
        until = Math.min(at, now());
        break;
      }
      machine.callWasLate(now() - at);
      tally.arrived();
      const call = make(job, `call-${made++}`).finally(() => open.delete(call));
      open.add(call);
    }
    await sleepUntil(duration, now, stop);
    const isInterrupted = stop.aborted;
    const went = Math.min(until, isInterrupted ? now() : duration);
    while ((windows + 1) * windowMs <= went + 1e-6) windowOver((windows + 1) * windowMs);
    if (went > windows * windowMs + 1) windowOver(went);
    const spare = machine.end();
    await Promise.all(open);
    return { tally, seed, duration: went, windowMs, isCutShort, machine: spare, failures, isInterrupted };
  } finally {
    clearInterval(looked);
    await governor.close({ drainMs: 0 });
    await api.close();
  }
}

/** What the span of a call at the gate tells: let in, at once or after a wait, or refused. */
function passedGate(outcome: Outcome<PlannedJob>, attributes: Attributes, now: number): void {
  const { [A.decision]: decision, [A.lane]: lane, [A.queueWait]: wait } = attributes;
  if (typeof wait === 'number') outcome.waitedMs += 1_000 * wait;
  const { [A.maxTokensRequested]: requested, [A.maxTokensGranted]: granted } = attributes;
  if (typeof lane === 'string')
    outcome.plan = {
      lane,
      modelId: outcome.plan?.modelId ?? outcome.job.model,
      clampedFrom: typeof requested === 'number' && requested !== granted ? requested : undefined,
      reroutedFrom: attributes[A.modelRequested] === undefined ? undefined : outcome.job.model,
    };
  if ((decision !== 'admit' && decision !== 'queue') || outcome.admittedAt !== undefined) return;
  outcome.admittedAt = now;
  const { [A.reason]: reason, [A.bucket]: bucket, [A.shadowRules]: shadowRules } = attributes;
  outcome.waitedFor = typeof reason === 'string' ? reason : undefined;
  outcome.bucket = typeof bucket === 'string' ? bucket : undefined;
  outcome.shadowRules = Array.isArray(shadowRules) ? shadowRules.map(String) : [];
}

function attempted(outcome: Outcome<PlannedJob>, attributes: Attributes): void {
  const usd = attributes[A.cost];
  if (typeof usd === 'number') outcome.usd = usd;
}

/** The way to the API and back, which loopback has not. */
function wayThere(networkMs: number, random: () => number): Middleware {
  const way = () => new Promise((resolve) => setTimeout(resolve, networkMs * (0.5 + random())));
  return async (request, next) => {
    await way();
    const response = await next(request);
    await way();
    return response;
  };
}

async function sleepUntil(at: number, now: () => number, stop: AbortSignal): Promise<void> {
  const ms = at - now();
  if (ms <= 0 || stop.aborted) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      stop.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, MAX_TIMER_MS));
    stop.addEventListener('abort', done);
  });
}
