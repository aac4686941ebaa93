import type {
  Answer,
  Candidate,
  ConfiguredLimits,
  Exchange,
  QuotaAsk,
  QuotaChange,
  Tag,
} from '@headgate/core';
import { askOf, type Quota } from './rules.ts';

/** A call as it comes: what it takes, and the quotas that apply to it. */
export interface Call {
  readonly lane: string;
  readonly user: string;
  readonly cost: number;
  readonly chargesTokens: boolean;
  readonly inputTokens: number;
  readonly inputHeld: number;
  readonly outputTokens: number;
  readonly path?: NonNullable<Candidate['path']>;
  readonly quotas: readonly Quota[];
}

interface Standing {
  readonly id: number;
  readonly call: Call;
  readonly cameAt: number;
  isQueued: boolean;
  isReserved: boolean;
  /** When it was let in, and what it was charged then. */
  at: number;
  charged: readonly Omit<QuotaAsk, 'isHeld'>[];
}

const asksOf = ({ quotas }: Call, now: number) => quotas.map((quota) => askOf(quota, now));

const NOTHING = { requests: 0, inputTokens: 0, outputTokens: 0 };
/** Calls that are put forward at once, at most. */
const PUT_FORWARD = 5;

/** A process that keeps to the contract, and tells the ledger nothing but what has happened to its calls. */
export class HonestProcess {
  readonly name: string;
  limits: ConfiguredLimits;
  readonly waiting: Standing[] = [];
  readonly running: Standing[] = [];
  said: Exchange | undefined;
  #isKnown = false;
  #hasNews = false;
  #nextId = 1;
  #seq = 0;
  #owed = { ...NOTHING };
  #changes: QuotaChange[] = [];
  #events: Exchange['events'][number][] = [];
  readonly #tags = new Map<string, Tag>();
  #last: Answer | undefined;

  /** Puts forward the eldest calls, or of each user of each lane the eldest. */
  readonly #isByUser: boolean;

  constructor(name: string, limits: ConfiguredLimits, isByUser = false) {
    this.name = name;
    this.limits = limits;
    this.#isByUser = isByUser;
  }

  #first(): Standing[] {
    if (!this.#isByUser) return this.waiting.slice(0, PUT_FORWARD);
    const firsts = new Map<string, Standing>();
    for (const standing of this.waiting) {
      const flow = `${standing.call.lane}/${standing.call.user}`;
      if (!firsts.has(flow)) firsts.set(flow, standing);
    }
    return [...firsts.values()];
  }

  come(call: Call, now: number): void {
    const id = this.#nextId++;
    const isQueued = this.waiting.length > 0;
    this.waiting.push({ id, call, cameAt: now, isQueued, isReserved: false, at: 0, charged: [] });
  }

  /** One that waits goes away: what was reserved for it is free. */
  leave(nth: number, now: number): void {
    const [gone] = this.waiting.splice(nth % Math.max(1, this.waiting.length), 1);
    if (gone?.isReserved !== true) return;
    for (const { key, onExceed, meters } of asksOf(gone.call, now)) {
      if (onExceed === 'wait') continue;
      const freed = meters.map(({ name, amount }) => ({ name, released: amount, used: 0, at: 0 }));
      this.#changes.push({ key, slots: -1, meters: freed });
    }
  }

  /** One that runs ends, with so much of what it was thought to take. */
  end(nth: number, share: number): void {
    const [ended] = this.running.splice(nth % Math.max(1, this.running.length), 1);
    if (ended === undefined) return;
    const { call, charged, at } = ended;
    if (share === 0) this.#owed.requests -= 1;
    if (call.chargesTokens) {
      this.#owed.inputTokens += Math.round(share * (call.inputTokens + call.inputHeld)) - call.inputTokens;
      const output = call.path?.use.at(-1) ?? call.outputTokens;
      this.#owed.outputTokens +=
        Math.round(share * output) - (call.path === undefined ? call.outputTokens : 0);
    }
    for (const { key, meters } of charged) {
      const used = meters.map(({ name, amount }) => ({ name, released: 0, used: (share - 1) * amount, at }));
      this.#changes.push({ key, slots: -1, meters: used });
    }
  }

  event(event: Exchange['events'][number]): void {
    this.#events.push(event);
  }

  configure(limits: ConfiguredLimits): void {
    this.limits = limits;
    this.#hasNews = true;
  }

  say(now: number, lanes: Readonly<Record<string, Omit<Exchange['lanes'][string], 'users'>>>): Exchange {
    const inLane = (lane: string) => this.waiting.filter(({ call }) => call.lane === lane);
    const users = (lane: string) => new Set(inLane(lane).map(({ call }) => call.user)).size;
    const first = this.#first();
    const rest = this.waiting.filter((standing) => !first.includes(standing) && !standing.isReserved);
    const paths = this.running.flatMap(({ call }) => (call.path === undefined ? [] : [call.path]));
    const sum = (name: 'use' | 'variance' | 'most') =>
      Array.from({ length: 20 }, (_, k) => paths.reduce((total, path) => total + (path[name][k] ?? 0), 0));
    const seq = ++this.#seq;
    this.said = {
      process: this.name,
      seq,
      acked: seq - 1,
      charges: this.#owed,
      holds: {
        inputTokens: this.running.reduce(
          (held, { call }) => held + (call.chargesTokens ? call.inputHeld : 0),
          0,
        ),
        calls: this.running.length,
        variance: 0,
      },
      path: { use: sum('use'), variance: sum('variance'), most: sum('most') },
      ...(this.#isKnown && !this.#hasNews ? {} : { limits: this.limits }),
      ...(this.#last === undefined ? {} : { hints: this.#hints(this.#last, now) }),
      lanes: Object.fromEntries(
        Object.entries(lanes).map(([name, terms]) => [name, { ...terms, users: users(name) }]),
      ),
      events: this.#events,
      quotas: this.#changes,
      spent: [],
      reserve: rest.map(({ id, call }) => ({
        id,
        quotas: asksOf(call, now).map((ask) => ({ ...ask, isHeld: false })),
      })),
      candidates: first.map((standing) => this.#candidate(standing, now)),
    };
    this.#owed = { ...NOTHING };
    this.#changes = [];
    this.#events = [];
    this.#hasNews = false;
    return this.said;
  }

  #candidate({ id, call, cameAt, isQueued, isReserved }: Standing, now: number): Candidate {
    const { quotas: rules, ...takes } = call;
    const tag = this.#tags.get(`${call.lane}/${call.user}`);
    const quotas = rules
      .map((rule) => askOf(rule, now))
      .map((ask) => ({ ...ask, isHeld: isReserved && ask.onExceed !== 'wait' }));
    return { ...takes, id, waitedMs: now - cameAt, isQueued, quotas, ...(tag === undefined ? {} : { tag }) };
  }

  #hints({ levels, now: toldAt }: Answer, now: number): Exchange['hints'] & object {
    return Object.fromEntries(
      Object.entries(levels).map(([name, { capacity, level, ratePerMs }]) => [
        name,
        Math.min(capacity, level + ratePerMs * (now - toldAt)),
      ]),
    );
  }

  heard(answer: Answer, exchange: Exchange): void {
    this.#last = answer;
    this.#isKnown = !answer.isUnknown || exchange.limits !== undefined;
    for (const result of answer.results) {
      const at = this.waiting.findIndex(({ id }) => id === result.id);
      const standing = this.waiting[at];
      if (standing === undefined) continue;
      const { call } = standing;
      standing.isQueued = true;
      standing.isReserved = true;
      if (result.type === 'exceeded') {
        if (result.onExceed === 'refuse') this.waiting.splice(at, 1);
        continue;
      }
      if (result.tag !== undefined) this.#tags.set(`${call.lane}/${call.user}`, result.tag);
      if (result.type === 'waits') continue;
      this.waiting.splice(at, 1);
      this.running.push({ ...standing, at: answer.now, charged: asksOf(call, answer.now) });
    }
  }
}
