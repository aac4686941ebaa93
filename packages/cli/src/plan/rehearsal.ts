import { type Caller, type HeadgateError, isHeadgateError } from '@headgate/core';
import {
  type Call,
  type Engine,
  expectedCharge,
  type Granted,
  type Plan,
  termsOf,
  tokenizerOf,
} from '@headgate/core/simulation';
import type { EventClock } from './clock.ts';
import { lognormal } from './random.ts';
import type { ModelledUpstream } from './upstream.ts';

/** A call as its caller makes it, with what only the API knows. */
export interface Job {
  readonly user: string;
  readonly lane?: string | undefined;
  readonly tenant?: string | undefined;
  readonly tier?: string | undefined;
  readonly route?: string | undefined;
  readonly model: string;
  /** Tokens, as the API counts them. */
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly maxTokens: number;
  readonly isStreaming: boolean;
  readonly deadlineMs?: number;
}

/** What became of a call. */
export interface Outcome<J extends Job = Job> {
  readonly job: J;
  readonly arrivedAt: number;
  /** Absent where the policy itself refuses. */
  plan: Pick<Plan, 'lane' | 'modelId' | 'clampedFrom' | 'reroutedFrom'> | undefined;
  /** Milliseconds in the queue, of all attempts together. */
  waitedMs: number;
  /** What the first attempt waited for. */
  waitedFor: string | undefined;
  /** The upstream bucket whose gate it has passed. */
  bucket: string | undefined;
  shadowRules: readonly string[];
  /** When the first attempt was let in. */
  admittedAt: number | undefined;
  error: HeadgateError | undefined;
  /** The API refused every attempt. */
  isGivenUp: boolean;
  /** Absent until it is answered, and where the price is not known. */
  usd: number | undefined;
  isAnswered: boolean;
}

/** What is known of a call as it comes. */
export const unknownYet = <J extends Job>(job: J, arrivedAt: number): Outcome<J> => ({
  job,
  arrivedAt,
  plan: undefined,
  waitedMs: 0,
  waitedFor: undefined,
  bucket: undefined,
  shadowRules: [],
  admittedAt: undefined,
  error: undefined,
  isGivenUp: false,
  usd: undefined,
  isAnswered: false,
});

/** How the API and the way to it behave. */
export interface Service {
  /** When the API writes its rate-limit headers: as it lets a request in, or as its answer starts. */
  readonly headersAt?: 'arrival' | 'answer' | undefined;
  /** Means. */
  readonly firstTokenMs?: number | undefined;
  readonly tokensPerSecond?: number | undefined;
  /** One way. */
  readonly networkMs?: number | undefined;
}

export interface RehearsalOptions<J extends Job> {
  readonly clock: EventClock;
  readonly random: () => number;
  readonly engine: Engine;
  /** The bucket of the modelled account that a model draws on. */
  readonly upstreamOf: (modelId: string) => ModelledUpstream;
  readonly service?: Service;
  readonly onAdmitted?: (outcome: Outcome<J>) => void;
  /** Answered, refused or given up. */
  readonly onEnd?: (outcome: Outcome<J>) => void;
}

interface Running {
  readonly granted: Granted;
  readonly startAt: number;
  readonly perMs: number;
  readonly outputTokens: number;
}

interface Attempt<J extends Job> {
  readonly outcome: Outcome<J>;
  readonly plan: Plan;
  readonly call: Call;
  readonly deadlineAt: number;
  /** Counted from 1. */
  readonly number: number;
}

/** Characters that a token of the API stands for; the governor assumes other numbers, and learns. */
const TRUE_CHARS_PER_TOKEN = { older: 4.2, newer: 3.2 };
/** Spreads of the logarithms of how long a first token takes, and of how fast the others come. */
export const FIRST_TOKEN_SPREAD = 0.3;
export const PACE_SPREAD = 0.15;
/** How often the stream's progress is told. */
const TICK_MS = 100;
const TEXT = 'lorem ipsum dolor sit amet, consectetur '.repeat(105_000);

/** The real admission, on simulated time, in front of a modelled API. */
export class Rehearsal<J extends Job = Job> {
  readonly #options: RehearsalOptions<J>;
  readonly #running = new Set<Running>();
  readonly #charsPerToken = new Map<string, number>();
  #open = 0;

  constructor(options: RehearsalOptions<J>) {
    this.#options = options;
    const { clock } = options;
    const tick = () => {
      this.#tick();
      clock.at(clock.now() + TICK_MS, tick, false);
    };
    clock.at(TICK_MS, tick, false);
  }

  /** Calls that have not come to their end. */
  get open(): number {
    return this.#open;
  }

  /** Makes a call now. */
  arrive(job: J): Outcome<J> {
    const { clock, engine } = this.#options;
    const now = clock.now();
    const outcome = unknownYet(job, now);
    this.#open++;
    const call = this.#callOf(job);
    const { user, lane, tenant, tier, route } = job;
    const caller: Caller = { user, lane, tenant, tier, route };
    let plan: Plan;
    try {
      plan = engine.decide(call, caller);
    } catch (error) {
      this.#refused(outcome, error);
      return outcome;
    }
    outcome.plan = plan;
    const deadlineAt = now + (job.deadlineMs ?? engine.config.timeouts.total);
    void this.#attempt({ outcome, plan, call, deadlineAt, number: 1 });
    return outcome;
  }

  #callOf({ model, inputTokens, maxTokens, isStreaming }: J): Call {
    let perToken = this.#charsPerToken.get(model);
    if (perToken === undefined) {
      perToken = TRUE_CHARS_PER_TOKEN[tokenizerOf(model)];
      this.#charsPerToken.set(model, perToken);
    }
    const chars = Math.min(TEXT.length, Math.max(1, Math.round(inputTokens * perToken)));
    return {
      kind: 'messages',
      model,
      maxTokens,
      isStreaming,
      body: { messages: [{ role: 'user', content: TEXT.slice(0, chars) }] },
      bytes: chars,
      isReplayable: true,
    };
  }

  async #attempt(attempt: Attempt<J>): Promise<void> {
    const { clock, engine } = this.#options;
    const { outcome, plan, call, deadlineAt, number } = attempt;
    const from = clock.now();
    try {
      const granted = await engine.admit({ plan, call, deadlineAt, attempt: number });
      outcome.waitedMs += granted.waitedMs;
      if (number === 1) {
        outcome.admittedAt = clock.now();
        outcome.waitedFor = granted.waitedFor;
        outcome.bucket = granted.scheduler.upstream.name;
        outcome.shadowRules = granted.shadowRules;
        this.#options.onAdmitted?.(outcome);
      }
      this.#send(attempt, granted);
    } catch (error) {
      outcome.waitedMs += clock.now() - from;
      this.#refused(outcome, error);
    }
  }

  #refused(outcome: Outcome<J>, error: unknown): void {
    if (!isHeadgateError(error)) throw error;
    outcome.error = error;
    this.#end(outcome);
  }

  #end(outcome: Outcome<J>): void {
    this.#open--;
    this.#options.onEnd?.(outcome);
  }

  #networkMs(): number {
    const { service: { networkMs = 40 } = {}, random } = this.#options;
    return networkMs * (0.5 + random());
  }

  #send(attempt: Attempt<J>, granted: Granted): void {
    const { clock, upstreamOf, engine } = this.#options;
    const { outcome, plan, deadlineAt, number } = attempt;
    const { job } = outcome;
    const upstream = upstreamOf(plan.modelId);
    const sentAt = clock.now();
    clock.at(
      sentAt + this.#networkMs(),
      () => {
        const answer = upstream.arrive(job.inputTokens, plan.maxTokens ?? job.maxTokens);
        const headers = upstream.headers();
        if (answer.kind === 'ok') {
          this.#answer(attempt, granted, upstream, sentAt);
          return;
        }
        clock.at(clock.now() + this.#networkMs(), () => {
          const { lease } = granted;
          lease.responded(answer.kind === 'overloaded' ? {} : headers, false, sentAt);
          lease.drop('refused');
          const now = clock.now();
          if (answer.kind === 'overloaded') lease.overloaded();
          else lease.pause(now + answer.retryAfterMs, answer.kind === 'ramp');
          const retryAfterMs = answer.kind === 'overloaded' ? undefined : answer.retryAfterMs;
          const delayMs = engine.retryIn({ kind: answer.kind, retryAfterMs, attempts: number, deadlineAt });
          if (delayMs === undefined) {
            outcome.isGivenUp = true;
            this.#end(outcome);
            return;
          }
          clock.at(now + delayMs, () => void this.#attempt({ ...attempt, number: number + 1 }));
        });
      },
      false,
    );
  }

  #answer(
    { outcome, plan, call }: Attempt<J>,
    granted: Granted,
    upstream: ModelledUpstream,
    sentAt: number,
  ): void {
    const { clock, random, service = {} } = this.#options;
    const { firstTokenMs = 600, tokensPerSecond = 70, headersAt = 'answer' } = service;
    const { job } = outcome;
    const maxTokens = plan.maxTokens ?? job.maxTokens;
    const outputTokens = Math.min(job.outputTokens, maxTokens);
    const startAt = clock.now() + lognormal(random, firstTokenMs, FIRST_TOKEN_SPREAD);
    const perMs = lognormal(random, tokensPerSecond, PACE_SPREAD) / 1_000;
    const endAt = startAt + outputTokens / perMs;
    const early = headersAt === 'arrival' ? upstream.headers() : undefined;
    const charge = expectedCharge(termsOf(plan, call), { inputTokens: job.inputTokens, outputTokens });
    const running: Running = { granted, startAt, perMs, outputTokens };
    clock.at(
      startAt,
      () => {
        upstream.produce(perMs, 1);
        const headers = early ?? upstream.headers();
        if (!job.isStreaming) return;
        clock.at(startAt + this.#networkMs(), () => {
          granted.lease.responded(headers, true, sentAt);
          granted.lease.inputKnown([charge]);
          granted.lease.progress(1);
          this.#running.add(running);
        });
      },
      false,
    );
    clock.at(
      endAt,
      () => {
        upstream.produce(perMs, -1);
        upstream.giveBack(maxTokens, outputTokens);
        const headers = early ?? upstream.headers();
        // Never before the answer's first bytes, which travel by themselves.
        clock.at(Math.max(endAt, startAt + 60) + this.#networkMs(), () => {
          this.#running.delete(running);
          if (!job.isStreaming) granted.lease.responded(headers, true, sentAt);
          granted.lease.settle([charge], {
            isWhole: true,
            promptTokens: job.inputTokens,
            isPromptSure: true,
          });
          outcome.isAnswered = true;
          outcome.usd = charge.usd;
          this.#end(outcome);
        });
      },
      false,
    );
  }

  /** Streams have come on; what is on its way is not seen yet. */
  #tick(): void {
    const now = this.#options.clock.now();
    for (const { granted, startAt, perMs, outputTokens } of this.#running)
      granted.lease.progress(Math.min(outputTokens, Math.floor(perMs * (now - 40 - startAt))));
  }
}
