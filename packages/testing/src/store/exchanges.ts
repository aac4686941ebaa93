import type { Answer, Candidate, Exchange, MeterAsk, QuotaAsk, Store } from '@headgate/core';

/** Lanes as most governors have them. */
const LANES = {
  interactive: { weight: 8, guarantee: 0.5, reserve: 0, order: 0 },
  background: { weight: 1, guarantee: 0.05, reserve: 0, order: 1 },
};

type Told = Partial<Omit<Exchange, 'process' | 'seq' | 'acked'>> & {
  /** Users with calls waiting in the interactive lane. */
  readonly users?: number;
};

/** A process of the fleet, as far as a store sees one. */
export class Peer {
  readonly name: string;
  readonly #store: Store;
  readonly #bucket: string;
  #seq = 0;
  #nextId = 1;
  last: Exchange | undefined;

  constructor(store: Store, bucket: string, name: string) {
    this.#store = store;
    this.#bucket = bucket;
    this.name = name;
  }

  async tell({ users = 0, ...told }: Told = {}): Promise<Answer> {
    const seq = ++this.#seq;
    this.last = {
      process: this.name,
      seq,
      acked: seq - 1,
      charges: { requests: 0, inputTokens: 0, outputTokens: 0 },
      holds: { inputTokens: 0, calls: 0, variance: 0 },
      lanes: {
        interactive: { ...LANES.interactive, users },
        background: { ...LANES.background, users: 0 },
      },
      events: [],
      quotas: [],
      spent: [],
      reserve: [],
      candidates: [],
      ...told,
    };
    return this.#store.exchange(this.#bucket, this.last);
  }

  /** The last message, word for word. */
  async again(): Promise<Answer> {
    if (this.last === undefined) throw new TypeError('nothing was said');
    return this.#store.exchange(this.#bucket, this.last);
  }

  /** A call that charges no tokens, unless it says so. */
  call(more: Partial<Candidate> = {}): Candidate {
    return {
      id: this.#nextId++,
      lane: 'interactive',
      user: `user of ${this.name}`,
      cost: 100,
      chargesTokens: false,
      inputTokens: 0,
      inputHeld: 0,
      outputTokens: 0,
      waitedMs: 0,
      isQueued: false,
      quotas: [],
      ...more,
    };
  }
}

/** So many a day, in a window about `now`. */
export function dayQuota(key: string, quota: number, now: number, more: Partial<QuotaAsk> = {}): QuotaAsk {
  const meter: MeterAsk = {
    name: 'requests',
    amount: 1,
    quota,
    kind: 'window',
    start: now - 43_200_000,
    end: now + 43_200_000,
  };
  return { key, onExceed: 'refuse', isHeld: false, meters: [meter], ...more };
}

export const grantedOf = ({ results }: Answer): number =>
  results.filter(({ type }) => type === 'granted').length;
