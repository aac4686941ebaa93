import { type Config, createEngine, type Engine } from '@headgate/core/simulation';
import { EventClock } from '../../packages/cli/src/plan/clock.ts';
import { seeded } from '../../packages/cli/src/plan/random.ts';
import * as plan from '../../packages/cli/src/plan/rehearsal.ts';
import {
  KINDS,
  type Kind,
  ModelledUpstream,
  type UpstreamOptions,
} from '../../packages/cli/src/plan/upstream.ts';
import type { OutputRuleMaker } from '../../packages/core/src/admission/output-rule.ts';
import { Scheduler } from '../../packages/core/src/admission/scheduler.ts';
import { UpstreamBucket } from '../../packages/core/src/admission/upstream.ts';
import { parseConfig } from '../../packages/core/src/config/parse.ts';
import type { ConfigInput } from '../../packages/core/src/config/schema.ts';

export type Job = Omit<plan.Job, 'model'> & { readonly model?: string };

export interface Outcome extends plan.Outcome {
  /** Milliseconds of the scarcest dimension that it took of the true limits. */
  readonly cost: number;
}

export interface WorldOptions extends plan.Service {
  readonly seed: number;
  readonly upstream: UpstreamOptions;
  readonly config?: ConfigInput;
  /** Changes to the parsed configuration, such as a depth that is not known. */
  readonly adjust?: (config: Config) => Config;
  /** Nobody is told apart: first come, first served. */
  readonly isFifo?: boolean;
  /** Another rule for output than the one that is kept. */
  readonly rule?: OutputRuleMaker;
}

export const MODEL = 'claude-sonnet-4-6';

/** The rehearsal of `headgate plan`, in front of one bucket, with all that became of its calls. */
export class World {
  readonly clock = new EventClock();
  readonly random: () => number;
  /** For who comes when with what: apart, so that two worlds of one seed are asked the same, whatever they make of it. */
  readonly traffic: () => number;
  readonly upstream: ModelledUpstream;
  readonly outcomes: Outcome[] = [];
  readonly onDone: ((job: plan.Job) => void)[] = [];
  readonly #rehearsal: plan.Rehearsal;
  readonly #options: WorldOptions;

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
    const { clock, random, upstream } = this;
    const engine = createEngine({ config, clock, random });
    if (options.rule !== undefined) {
      // One gate for everything, with another rule.
      const bucket = new UpstreamBucket(
        'default',
        's',
        config.account[0] ?? {},
        engine.estimator,
        clock.now(),
        options.rule,
      );
      const scheduler = new Scheduler(bucket, config.lanes, engine.alarms, clock, random);
      engine.accounts.gate = () => ({ scheduler, isKnown: true });
      engine.accounts.all = () => [scheduler].values();
    }
    this.#rehearsal = new plan.Rehearsal({
      clock,
      random,
      engine: options.isFifo ? fifo(engine) : engine,
      upstreamOf: () => upstream,
      service: options,
      onEnd: ({ job }) => {
        for (const done of this.onDone) done(job);
      },
    });
  }

  /** Makes a call now. */
  arrive(job: Job): Outcome {
    const whole = { model: MODEL, deadlineMs: 7_200_000, ...job };
    const outcome = Object.assign(this.#rehearsal.arrive(whole), { cost: this.costOf(job) });
    this.outcomes.push(outcome);
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

/** All calls are one user's. */
const fifo = (engine: Engine): Engine => ({
  ...engine,
  decide: (call, caller) => engine.decide(call, { ...caller, user: 'all' }),
});
