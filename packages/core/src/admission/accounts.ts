import type { Alarms } from '../alarms.ts';
import type { Clock, Random } from '../clock.ts';
import { compositeKey } from '../composite-key.ts';
import type { BucketConfig, Config, LaneConfig } from '../config/schema.ts';
import type { Estimator } from '../estimate/estimator.ts';
import { compileGlobs } from '../policy/glob.ts';
import type { Model } from '../policy/models.ts';
import type { CallKind } from '../request/read.ts';
import type { Slices } from '../slices.ts';
import type { Store } from '../stores/store.ts';
import { DegradedShare } from './fleet/degraded-share.ts';
import { FleetScheduler } from './fleet/fleet-scheduler.ts';
import { FleetUpstream } from './fleet/fleet-upstream.ts';
import type { Mode } from './fleet/line.ts';
import type { GateKeeper } from './gate.ts';
import { Scheduler } from './scheduler.ts';
import { UpstreamBucket } from './upstream.ts';

/** The account of a client that names none. */
export const DEFAULT_ACCOUNT = 'default';

export interface Gate {
  readonly scheduler: GateKeeper;
  /** False where no entry of the configuration, and no model that we know, says which bucket this is. */
  readonly isKnown: boolean;
}

interface Entry {
  readonly config: BucketConfig;
  readonly matches: (model: string) => boolean;
}

interface AccountParts {
  readonly estimator: Estimator;
  readonly alarms: Alarms;
  readonly clock: Clock;
  readonly random: Random;
  /** Default: all is done at once. */
  readonly slices?: Slices;
  /** Limits shared with other processes. */
  readonly fleet?: Fleet | undefined;
}

/** What a fleet is joined by. */
export interface Fleet {
  readonly store: Store;
  /** Names this start of this process. */
  readonly process: string;
  /** Called when a bucket's ledger is lost or back, after `onShare`. */
  readonly onMode: (bucket: string, mode: Mode, error: unknown) => void;
  /** Share of every quota that this process gives from now on: 1 with all ledgers there. */
  readonly onShare: (share: number) => void;
  /** In an outage more users came than are kept for the store: the use of the first is forgotten. */
  readonly onForgotten: () => void;
}

/**
 * The upstream buckets of every account, each with its gate. They are made as they are needed; their number is bounded
 * by the configuration and the model table.
 */
export class Accounts {
  readonly #schedulers = new Map<string, GateKeeper>();
  readonly #parts: AccountParts;
  readonly #degraded: DegradedShare;
  #entries = new Map<string, Entry[]>();
  #lanes: Config['lanes'];
  /** What is configured of the limit of the batch endpoints. */
  #batches: Partial<BucketConfig> = {};
  #isClosed = false;

  constructor(config: Config, parts: AccountParts) {
    this.#parts = parts;
    this.#degraded = new DegradedShare((share) => parts.fleet?.onShare(share));
    this.#lanes = config.lanes;
    this.#read(config);
  }

  #read(config: Config): void {
    const accounts = { ...config.accounts, [DEFAULT_ACCOUNT]: config.account };
    this.#entries = new Map(
      Object.entries(accounts).map(([name, buckets]) => [
        name,
        buckets.map((bucket) => ({ config: bucket, matches: compileGlobs(bucket.models) })),
      ]),
    );
    this.#lanes = config.lanes;
    const { requestsPerMinute } = config.batch;
    this.#batches = requestsPerMinute === undefined ? {} : { requestsPerMinute };
  }

  /**
   * Other limits and lanes from now on. A bucket of a name that stays keeps its level, its calls and its queue; one
   * that is gone serves what waits in it.
   */
  configure(config: Config): void {
    this.#read(config);
    const now = this.#parts.clock.now();
    for (const [key, scheduler] of this.#schedulers) {
      const { account, name, active } = scheduler.upstream;
      const entry = this.#entries.get(account)?.find((each) => each.config.name === name);
      // An account that is gone may come back while its last calls run: nothing of it is dropped before.
      if (entry === undefined && active === 0 && scheduler.size === 0 && !this.#entries.has(account)) {
        this.#schedulers.delete(key);
        this.#degraded.ended(key);
        void scheduler.hangUp?.();
        continue;
      }
      scheduler.upstream.configure(entry?.config ?? (name === 'batches' ? this.#batches : {}), now);
      scheduler.configure(config.lanes);
      scheduler.wake();
    }
  }

  has(account: string): boolean {
    return this.#entries.has(account);
  }

  lane(name: string): LaneConfig | undefined {
    return this.#lanes[name];
  }

  get names(): string[] {
    return [...this.#entries.keys()];
  }

  /** The gate that a call must pass. */
  gate(account: string, kind: CallKind, modelId: string, model: Model | undefined, isFast = false): Gate {
    if (kind === 'batches') {
      return { scheduler: this.#scheduler(account, kind, this.#batches), isKnown: true };
    }
    if (kind !== 'messages') return { scheduler: this.#scheduler(account, kind, {}), isKnown: true };
    const entries = this.#entries.get(account) ?? [];
    const entry = entries.find(({ matches }) => matches(modelId));
    if (isFast) {
      // Fast mode has limits of its own, which nobody configures: they are learned.
      const name = `${entry?.config.name ?? model?.class ?? 'default'} (fast)`;
      return { scheduler: this.#scheduler(account, name, {}), isKnown: true };
    }
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

  #scheduler(account: string, name: string, config: Partial<BucketConfig>): GateKeeper {
    const key = compositeKey(account, name);
    let scheduler = this.#schedulers.get(key);
    if (scheduler === undefined) {
      scheduler = this.#open(key, account, name, config);
      if (this.#isClosed) void scheduler.close();
      this.#schedulers.set(key, scheduler);
    }
    return scheduler;
  }

  #open(key: string, account: string, name: string, config: Partial<BucketConfig>): GateKeeper {
    const { estimator, clock, alarms, random, slices, fleet } = this.#parts;
    const now = clock.now();
    // A bucket that is first asked for after the end refuses, and joins no fleet for that.
    if (fleet === undefined || this.#isClosed) {
      const upstream = new UpstreamBucket(account, name, config, estimator, now);
      return new Scheduler(upstream, this.#lanes, alarms, clock, random, slices);
    }
    const { store, process, onMode } = fleet;
    const upstream = new FleetUpstream(account, name, config, estimator, store.assumedProcesses, now);
    return new FleetScheduler({
      upstream,
      lanes: this.#lanes,
      store,
      process,
      estimator,
      alarms,
      clock,
      random,
      slices,
      onForgotten: fleet.onForgotten,
      onShare: (share) => this.#degraded.degraded(key, share),
      onMode: (mode, error) => {
        if (mode === 'shared') this.#degraded.ended(key);
        onMode(name, mode, error);
      },
    });
  }

  /** How many processes share the limits, as far as is known: the most that any bucket knows of. */
  get processes(): number {
    let most = 1;
    for (const { processes } of this.#schedulers.values()) most = Math.max(most, processes);
    return most;
  }

  /** Every bucket refuses all that come, also one that is first used afterwards, and all that wait; resolves when they are. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#schedulers.values()].map((scheduler) => scheduler.close()));
  }

  all(): IterableIterator<GateKeeper> {
    return this.#schedulers.values();
  }
}
