import type { Alarms } from '../alarms.ts';
import type { Clock, Random } from '../clock.ts';
import type { BucketConfig, Config } from '../config/schema.ts';
import type { Estimator } from '../estimate/estimator.ts';
import { compileGlobs } from '../policy/match.ts';
import type { Model } from '../policy/models.ts';
import type { CallKind } from '../request/read.ts';
import { Scheduler } from './scheduler.ts';
import { UpstreamBucket } from './upstream.ts';

/** The account of a client that names none. */
export const DEFAULT_ACCOUNT = 'default';

export interface Gate {
  readonly scheduler: Scheduler;
  /** False where no entry of the configuration, and no model that we know, says which bucket this is. */
  readonly isKnown: boolean;
}

interface Entry {
  readonly config: BucketConfig;
  readonly matches: (model: string) => boolean;
}

/** The upstream buckets of every account, each with its gate. Made as they are needed: their number is bounded by the configuration and the model table. */
export class Accounts {
  readonly #entries = new Map<string, Entry[]>();
  readonly #schedulers = new Map<string, Scheduler>();
  readonly #parts: {
    lanes: Config['lanes'];
    estimator: Estimator;
    alarms: Alarms;
    clock: Clock;
    random: Random;
  };

  constructor(
    config: Config,
    parts: {
      estimator: Estimator;
      alarms: Alarms;
      clock: Clock;
      random: Random;
    },
  ) {
    this.#parts = { ...parts, lanes: config.lanes };
    for (const [name, buckets] of Object.entries({
      ...config.accounts,
      [DEFAULT_ACCOUNT]: config.account,
    })) {
      this.#entries.set(
        name,
        buckets.map((bucket) => ({
          config: bucket,
          matches: compileGlobs(bucket.models),
        })),
      );
    }
  }

  has(account: string): boolean {
    return this.#entries.has(account);
  }

  get names(): string[] {
    return [...this.#entries.keys()];
  }

  /** The gate that a call must pass. */
  gate(account: string, kind: CallKind, modelId: string, model: Model | undefined): Gate {
    if (kind !== 'messages') return { scheduler: this.#scheduler(account, kind, {}), isKnown: true };
    const entries = this.#entries.get(account) ?? [];
    const entry = entries.find(({ matches }) => matches(modelId));
    if (entry !== undefined)
      return {
        scheduler: this.#scheduler(account, entry.config.name, entry.config),
        isKnown: true,
      };
    // Limits that are not configured are learned, by the classes of models that share a bucket upstream.
    const isKnown = entries.length === 0 && model !== undefined;
    return {
      scheduler: this.#scheduler(account, model?.class ?? 'default', {}),
      isKnown,
    };
  }

  #scheduler(account: string, name: string, config: Partial<BucketConfig>): Scheduler {
    const key = `${account}\n${name}`;
    let scheduler = this.#schedulers.get(key);
    if (scheduler === undefined) {
      const { estimator, clock, lanes, alarms, random } = this.#parts;
      const upstream = new UpstreamBucket(account, name, config, estimator, clock.now());
      scheduler = new Scheduler(upstream, lanes, alarms, clock, random);
      this.#schedulers.set(key, scheduler);
    }
    return scheduler;
  }

  all(): IterableIterator<Scheduler> {
    return this.#schedulers.values();
  }
}
