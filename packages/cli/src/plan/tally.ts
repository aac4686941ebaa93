import type { Reason } from '@headgate/core';
import type { Config } from '@headgate/core/simulation';
import type { PlannedJob } from './arrivals.ts';
import { Histogram } from './histogram.ts';
import type { Outcome } from './rehearsal.ts';
import type { AccountBucket } from './traffic.ts';
import { KINDS, type Kind } from './upstream.ts';

/** Tiers of a trace that are told apart; a trace may hold any number. */
const MAX_TIERS = 50;
const OTHERS = 'others';
/** What a bucket can be short of; the rest are quotas of the caller's own. */
const OF_BUCKETS: ReadonlySet<string> = new Set<Reason>([
  'requests_per_minute',
  'input_tokens_per_minute',
  'output_tokens_per_minute',
  'concurrency',
  'upstream_paused',
]);

/** What became of the calls of one lane, class or tier. */
export class Group {
  arrived = 0;
  answered = 0;
  /** Refused by the API at every attempt. */
  givenUp = 0;
  readonly refused = new Map<string, number>();
  /** Of the calls that were let in, and of those whose time in the queue was over. */
  readonly waits = new Histogram();
  usd = 0;

  get refusals(): number {
    return sum(this.refused);
  }
}

/** What one rule of the configuration did. */
export interface RuleTally {
  refused: number;
  /** Would have refused or held back: rules in shadow. */
  shadowed: number;
}

/** One bucket in one window of time. */
export interface BucketWindow {
  /** Milliseconds from the start. */
  readonly from: number;
  /** Share of what refills in the window. Above 1 where the depth of the bucket was drawn on. */
  readonly used: Readonly<Record<Kind, number>>;
  /** What most of the calls that were let in after a wait had waited for; nothing where none had. */
  readonly binds: string | undefined;
  readonly refusals429: number;
}

/** All calls in one window of time. */
export interface CallWindow {
  /** Milliseconds from the start. */
  readonly from: number;
  readonly arrived: number;
  readonly answered: number;
  readonly refused: number;
  readonly givenUp: number;
  /** Of the calls answered in it. */
  readonly usd: number;
  /** Of the calls that were let in, or ran out of time, in it; a lane without any is absent. */
  readonly waits: Readonly<Record<string, WindowWaits>>;
}

export interface WindowWaits {
  readonly calls: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p95: number;
}

/** What has been taken of one bucket of the account, and how often it refused. */
export interface Meter {
  used(kind: Kind): number;
  /** 429s. */
  readonly refused: number;
}

/** The account that calls were made to: modelled, or one that answers over HTTP. */
export interface MeteredAccount {
  readonly buckets: readonly { readonly config: AccountBucket; readonly upstream: Meter }[];
  /** Nothing where no bucket is for the model. */
  find(modelId: string): Meter | undefined;
}

interface BucketTally {
  readonly windows: BucketWindow[];
  usedBefore: Record<Kind, number>;
  refusalsBefore: number;
  reasons: Map<string, number>;
}

/** Everything that is counted, in memory that does not grow with the number of calls. */
export class Tally {
  readonly all = new Group();
  readonly lanes = new Map<string, Group>();
  readonly classes = new Map<string, Group>();
  readonly tiers = new Map<string, Group>();
  readonly rules = new Map<string, RuleTally>();
  readonly waitedFor = new Map<string, number>();
  /** Calls let in that went to another model than they asked for, by both. */
  readonly reroutes = new Map<string, number>();
  readonly buckets = new Map<string, BucketTally>();
  readonly windows: CallWindow[] = [];
  /** Calls let in whose `max_tokens` was lowered. */
  clamped = 0;
  capRefused = 0;
  /** Answered calls whose price is not known. */
  unpriced = 0;
  readonly #account: MeteredAccount;
  #arrived = 0;
  #before = { arrived: 0, answered: 0, refused: 0, givenUp: 0, usd: 0 };
  /** Of this window alone, by lane. */
  readonly #waits = new Map<string, Histogram>();

  constructor(account: MeteredAccount, config: Config) {
    this.#account = account;
    // A rule that did nothing is worth to be told, too.
    for (const { name } of [...config.quotas, ...config.budgets])
      this.rules.set(name, { refused: 0, shadowed: 0 });
    for (const { config } of account.buckets)
      this.buckets.set(config.name, {
        windows: [],
        usedBefore: { requests: 0, inputTokens: 0, outputTokens: 0 },
        refusalsBefore: 0,
        reasons: new Map(),
      });
  }

  #groups({ job, plan, error }: Outcome<PlannedJob>): Group[] {
    // What the policy refuses outright has no plan: its refusal tells the lane.
    const lane = plan?.lane ?? error?.lane ?? job.lane;
    const { tier } = job;
    return [
      this.all,
      ...(lane === undefined ? [] : [groupOf(this.lanes, lane)]),
      groupOf(this.classes, job.entry),
      ...(tier === undefined
        ? []
        : [groupOf(this.tiers, this.tiers.has(tier) || this.tiers.size < MAX_TIERS ? tier : OTHERS)]),
    ];
  }

  /** A call is made; what becomes of it is told later. */
  arrived(): void {
    this.#arrived++;
  }

  admitted(outcome: Outcome<PlannedJob>): void {
    const { plan, waitedFor, job } = outcome;
    if (plan === undefined) return;
    this.#waited(plan.lane, outcome.waitedMs);
    if (plan.clampedFrom !== undefined) this.clamped++;
    if (plan.reroutedFrom !== undefined) count(this.reroutes, `${job.model} → ${plan.modelId}`);
    for (const name of outcome.shadowRules) {
      const rule = this.rules.get(name);
      if (rule !== undefined) rule.shadowed++;
    }
    if (waitedFor === undefined || outcome.waitedMs <= 0) return;
    count(this.waitedFor, waitedFor);
    this.#bound(plan.modelId, waitedFor);
  }

  ended(outcome: Outcome<PlannedJob>): void {
    const { error, usd } = outcome;
    for (const group of this.#groups(outcome)) {
      group.arrived++;
      if (outcome.isAnswered) group.answered++;
      if (outcome.isGivenUp) group.givenUp++;
      if (error !== undefined) count(group.refused, error.reason);
      if (outcome.admittedAt !== undefined || error?.code === 'queue_timeout')
        group.waits.add(outcome.waitedMs);
      group.usd += usd ?? 0;
    }
    if (outcome.isAnswered && usd === undefined) this.unpriced++;
    if (error === undefined) return;
    const lane = outcome.plan?.lane ?? error.lane;
    if (error.code === 'queue_timeout' && lane !== undefined) this.#waited(lane, outcome.waitedMs);
    if (error.code === 'cap_refused') this.capRefused++;
    const rule = error.code === 'quota_exceeded' ? this.rules.get(error.rule ?? '') : undefined;
    if (rule !== undefined) rule.refused++;
  }

  #waited(lane: string, ms: number): void {
    let waits = this.#waits.get(lane);
    if (waits === undefined) {
      waits = new Histogram();
      this.#waits.set(lane, waits);
    }
    waits.add(ms);
  }

  #bound(modelId: string, reason: string): void {
    if (!OF_BUCKETS.has(reason)) return;
    const upstream = this.#account.find(modelId);
    const name = this.#account.buckets.find((each) => each.upstream === upstream)?.config.name ?? '';
    const bucket = this.buckets.get(name);
    if (bucket !== undefined) count(bucket.reasons, reason);
  }

  /** 429s so far, of all buckets. */
  get refusals429(): number {
    return this.#account.buckets.reduce((total, { upstream }) => total + upstream.refused, 0);
  }

  /** A window of time is over. */
  window(from: number, to: number): void {
    this.#callWindow(from);
    for (const { config, upstream } of this.#account.buckets) {
      const bucket = this.buckets.get(config.name);
      if (bucket === undefined) continue;
      const perMinute = {
        requests: config.requestsPerMinute,
        inputTokens: config.inputTokensPerMinute,
        outputTokens: config.outputTokensPerMinute,
      };
      const usedNow = { requests: 0, inputTokens: 0, outputTokens: 0 };
      const used = { requests: 0, inputTokens: 0, outputTokens: 0 };
      for (const kind of KINDS) {
        usedNow[kind] = upstream.used(kind);
        used[kind] = (usedNow[kind] - bucket.usedBefore[kind]) / ((perMinute[kind] * (to - from)) / 60_000);
      }
      const [binds] = [...bucket.reasons].sort(([, a], [, b]) => b - a)[0] ?? [];
      const refused = upstream.refused;
      bucket.windows.push({ from, used, binds, refusals429: refused - bucket.refusalsBefore });
      bucket.usedBefore = usedNow;
      bucket.refusalsBefore = refused;
      bucket.reasons = new Map();
    }
  }

  #callWindow(from: number): void {
    const { answered, refusals: refused, givenUp, usd } = this.all;
    const now = { arrived: this.#arrived, answered, refused, givenUp, usd };
    const before = this.#before;
    const waits: Record<string, WindowWaits> = {};
    for (const [lane, histogram] of this.#waits)
      waits[lane] = {
        calls: histogram.count,
        p50: histogram.quantile(0.5),
        p95: histogram.quantile(0.95),
      };
    this.windows.push({
      from,
      arrived: now.arrived - before.arrived,
      answered: now.answered - before.answered,
      refused: now.refused - before.refused,
      givenUp: now.givenUp - before.givenUp,
      usd: now.usd - before.usd,
      waits,
    });
    this.#before = now;
    this.#waits.clear();
  }
}

function groupOf(groups: Map<string, Group>, name: string): Group {
  let group = groups.get(name);
  if (group === undefined) {
    group = new Group();
    groups.set(name, group);
  }
  return group;
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

export const sum = (counts: ReadonlyMap<string, number>): number => {
  let total = 0;
  for (const each of counts.values()) total += each;
  return total;
};
