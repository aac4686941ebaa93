import { type HeadgateError, isHeadgateError } from '@headgate/core';
import { Accounts } from '../../packages/core/src/admission/accounts.ts';
import { Admission, type Granted } from '../../packages/core/src/admission/admission.ts';
import type { OutputRuleMaker } from '../../packages/core/src/admission/output-rule.ts';
import { Quotas } from '../../packages/core/src/admission/quotas.ts';
import { Scheduler } from '../../packages/core/src/admission/scheduler.ts';
import { UpstreamBucket } from '../../packages/core/src/admission/upstream.ts';
import { Alarms } from '../../packages/core/src/alarms.ts';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import type { Config, ConfigInput } from '../../packages/core/src/config/schema.ts';
import { Estimator } from '../../packages/core/src/estimate/estimator.ts';
import { compilePolicy } from '../../packages/core/src/policy/policy.ts';
import type { Call } from '../../packages/core/src/request/read.ts';
import { NO_USAGE, type Usage } from '../../packages/core/src/settlement/usage.ts';
import { EventClock } from './clock.ts';
import { lognormal, seeded } from './random.ts';
import { KINDS, type Kind, ModelledUpstream, type UpstreamOptions } from './upstream.ts';

/** A call as its caller makes it, with what only the API knows. */
export interface Job {
  readonly user: string;
  readonly lane: string;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly maxTokens: number;
  readonly isStreaming: boolean;
  readonly model?: string;
  readonly deadlineMs?: number;
}

/** What became of a call. */
export interface Outcome {
  readonly job: Job;
  readonly arrivedAt: number;
  waitedMs: number;
  admittedAt: number | undefined;
  error: HeadgateError | undefined;
  /** Milliseconds of the scarcest dimension that it took of the true limits. */
  readonly cost: number;
}

export interface WorldOptions {
  readonly seed: number;
  readonly upstream: UpstreamOptions;
  readonly config?: ConfigInput;
  /** Changes to the parsed configuration, such as a depth that is not known. */
  readonly adjust?: (config: Config) => Config;
  /** When the API writes its rate-limit headers: as it lets a request in, or as its answer starts. */
  readonly headersAt?: 'arrival' | 'answer';
  readonly firstTokenMs?: number;
  readonly tokensPerSecond?: number;
  readonly networkMs?: number;
  /** Nobody is told apart: first come, first served. */
  readonly isFifo?: boolean;
  /** Another rule for output than the one that is kept. */
  readonly rule?: OutputRuleMaker;
}

interface Running {
  readonly granted: Granted;
  readonly startAt: number;
  readonly perMs: number;
  readonly outputTokens: number;
}

export const MODEL = 'claude-sonnet-4-6';
/** Characters that a token of the API stands for; the governor assumes another number, and learns. */
const TRUE_CHARS_PER_TOKEN = 4.2;
/** How often the stream's progress is told. */
const TICK_MS = 100;
const MAX_ATTEMPTS = 4;
const TEXT = 'lorem ipsum dolor sit amet, consectetur '.repeat(25_000);

/** The real admission, on simulated time, in front of a modelled API. */
export class World {
  readonly clock = new EventClock();
  readonly random: () => number;
  /** For who comes when with what: apart, so that two worlds of one seed are asked the same, whatever they make of it. */
  readonly traffic: () => number;
  readonly upstream: ModelledUpstream;
  readonly admission: Admission;
  readonly accounts: Accounts;
  readonly alarms: Alarms;
  readonly outcomes: Outcome[] = [];
  readonly onDone: ((job: Job) => void)[] = [];
  readonly #policy: ReturnType<typeof compilePolicy>;
  readonly #options: WorldOptions;
  readonly #running = new Set<Running>();

  constructor(options: WorldOptions) {
    this.#options = options;
    this.random = seeded(options.seed);
    this.traffic = seeded(options.seed + 1_000_003);
    this.upstream = new ModelledUpstream(this.clock, options.upstream);
    const limits = options.upstream;
    const parsed = parseConfig({
      account: [
        {
          name: 's',
          models: ['claude-sonnet-*'],
          requestsPerMinute: limits.requestsPerMinute,
          inputTokensPerMinute: limits.inputTokensPerMinute,
          outputTokensPerMinute: limits.outputTokensPerMinute,
          burst: limits.depthSeconds / 60,
          outputCharging: limits.outputCharging ?? 'realtime',
        },
      ],
      lanes: { interactive: { maxWait: '20s', maxQueuedPerUser: 100_000, maxQueued: 1_000_000 } },
      ...options.config,
    });
    const config = options.adjust?.(parsed) ?? parsed;
    const { clock, random } = this;
    this.alarms = new Alarms(clock);
    const estimator = new Estimator();
    this.accounts = new Accounts(config, { estimator, alarms: this.alarms, clock, random });
    if (options.rule !== undefined) this.#replaceGate(config, estimator, options.rule);
    const quotas = new Quotas(config.quotas, config.timeZone, clock);
    this.admission = new Admission({ accounts: this.accounts, quotas, estimator, clock });
    this.#policy = compilePolicy(config);
    const tick = () => {
      this.#tick();
      clock.at(clock.now() + TICK_MS, tick, false);
    };
    clock.at(TICK_MS, tick, false);
  }

  /** One gate for everything, with another rule. */
  #replaceGate(config: Config, estimator: Estimator, rule: OutputRuleMaker): void {
    const { clock, random, alarms } = this;
    const upstream = new UpstreamBucket(
      'default',
      's',
      config.account[0] ?? {},
      estimator,
      clock.now(),
      rule,
    );
    const scheduler = new Scheduler(upstream, config.lanes, alarms, clock, random);
    this.accounts.gate = () => ({ scheduler, isKnown: true });
    this.accounts.all = () => [scheduler].values();
  }

  /** Makes a call now. */
  arrive(job: Job): Outcome {
    const now = this.clock.now();
    const outcome: Outcome = {
      job,
      arrivedAt: now,
      waitedMs: 0,
      admittedAt: undefined,
      error: undefined,
      cost: this.costOf(job),
    };
    this.outcomes.push(outcome);
    void this.#attempt(job, outcome, now + (job.deadlineMs ?? 7_200_000), 1);
    return outcome;
  }

  costOf({ inputTokens, outputTokens }: Job): number {
    const { upstream } = this.#options;
    return (
      60_000 *
      Math.max(
        1 / upstream.requestsPerMinute,
        inputTokens / upstream.inputTokensPerMinute,
        outputTokens / upstream.outputTokensPerMinute,
      )
    );
  }

  async #attempt(job: Job, outcome: Outcome, deadlineAt: number, attempt: number): Promise<void> {
    const chars = Math.min(TEXT.length, Math.max(1, Math.round(job.inputTokens * TRUE_CHARS_PER_TOKEN)));
    const call: Call = {
      kind: 'messages',
      model: job.model ?? MODEL,
      maxTokens: job.maxTokens,
      isStreaming: job.isStreaming,
      body: { messages: [{ role: 'user', content: TEXT.slice(0, chars) }] },
      bytes: chars,
      isReplayable: true,
    };
    const caller = { user: this.#options.isFifo ? 'all' : job.user, lane: job.lane, signals: [] };
    const plan = this.#policy.plan(call, caller);
    try {
      const granted = await this.admission.admit({
        plan,
        call,
        account: 'default',
        deadlineAt,
        signals: [],
        isRetry: attempt > 1,
        isCounted: false,
      });
      if (attempt === 1) {
        outcome.admittedAt = this.clock.now();
        outcome.waitedMs = granted.waitedMs;
      }
      this.#send(job, outcome, granted, deadlineAt, attempt);
    } catch (error) {
      if (!isHeadgateError(error)) throw error;
      outcome.error = error;
      outcome.waitedMs = this.clock.now() - outcome.arrivedAt;
      for (const done of this.onDone) done(job);
    }
  }

  #networkMs(): number {
    const { networkMs = 40 } = this.#options;
    return networkMs * (0.5 + this.random());
  }

  #send(job: Job, outcome: Outcome, granted: Granted, deadlineAt: number, attempt: number): void {
    const { clock, upstream } = this;
    const sentAt = clock.now();
    clock.at(
      sentAt + this.#networkMs(),
      () => {
        const answer = upstream.arrive(job.inputTokens, job.maxTokens);
        const headers = upstream.headers();
        if (answer.kind === 'ok') {
          this.#answer(job, granted, sentAt);
          return;
        }
        clock.at(clock.now() + this.#networkMs(), () => {
          granted.lease.responded(answer.kind === 'overloaded' ? {} : headers, false, sentAt);
          granted.lease.drop('refused');
          const now = clock.now();
          if (answer.kind !== 'overloaded') {
            granted.lease.pause(now + answer.retryAfterMs, answer.kind === 'ramp');
          } else (granted.lease as { overloaded?: () => void }).overloaded?.();
          if (attempt >= MAX_ATTEMPTS) {
            for (const done of this.onDone) done(job);
            return;
          }
          // What is paced waits in its queue; the rest backs off by itself.
          const backoff = answer.kind === 'rate_limited' ? 0 : 500 * 2 ** attempt * this.random();
          clock.at(now + backoff, () => void this.#attempt(job, outcome, deadlineAt, attempt + 1));
        });
      },
      false,
    );
  }

  #answer(job: Job, granted: Granted, sentAt: number): void {
    const { clock, upstream, random } = this;
    const { firstTokenMs = 600, tokensPerSecond = 70, headersAt = 'answer' } = this.#options;
    const startAt = clock.now() + lognormal(random, firstTokenMs, 0.3);
    const perMs = lognormal(random, tokensPerSecond, 0.15) / 1_000;
    const endAt = startAt + job.outputTokens / perMs;
    const early = headersAt === 'arrival' ? upstream.headers() : undefined;
    const usage: Usage = { ...NO_USAGE, inputTokens: job.inputTokens, outputTokens: job.outputTokens };
    const running: Running = { granted, startAt, perMs, outputTokens: job.outputTokens };
    clock.at(
      startAt,
      () => {
        upstream.produce(perMs, 1);
        const headers = early ?? upstream.headers();
        if (!job.isStreaming) return;
        clock.at(startAt + this.#networkMs(), () => {
          granted.lease.responded(headers, true, sentAt);
          granted.lease.inputKnown(usage);
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
        upstream.giveBack(job.maxTokens, job.outputTokens);
        const headers = early ?? upstream.headers();
        // Never before the answer's first bytes, which travel by themselves.
        clock.at(Math.max(endAt, startAt + 60) + this.#networkMs(), () => {
          this.#running.delete(running);
          if (!job.isStreaming) granted.lease.responded(headers, true, sentAt);
          granted.lease.settle(usage, true);
          for (const done of this.onDone) done(job);
        });
      },
      false,
    );
  }

  /** Streams have come on; what is on its way is not seen yet. */
  #tick(): void {
    const now = this.clock.now();
    for (const { granted, startAt, perMs, outputTokens } of this.#running)
      granted.lease.progress(Math.min(outputTokens, Math.floor(perMs * (now - 40 - startAt))));
  }

  /** Tokens or requests used, as a share of what the depth and the refill allow. */
  share(kind: Kind, seconds: number, used: number): number {
    const { upstream } = this.#options;
    const perMinute = {
      requests: upstream.requestsPerMinute,
      inputTokens: upstream.inputTokensPerMinute,
      outputTokens: upstream.outputTokensPerMinute,
    }[kind];
    return used / ((perMinute / 60) * (upstream.depthSeconds + seconds));
  }

  usedNow(): Record<Kind, number> {
    return Object.fromEntries(KINDS.map((kind) => [kind, this.upstream.used(kind)])) as Record<Kind, number>;
  }
}
