import type { AmountName, Answer, ConfiguredLimits, Exchange } from '@headgate/core';
import type { Connection } from './connection.ts';

/**
 * Releases that keep something else in Redis have ledgers of their own, and each ledger knows but its own processes. So that
 * together they keep to the limits of the account, every process tells in one place, the same for all releases whatever they
 * keep, that it is there; and a ledger that is not alone is told of a share of the limits: by the processes that it has. What
 * that place holds never changes its form.
 */
const TELL_MS = 1_000;

/**
 * KEYS[1]  sorted set of processes, each after its schema, by when it was last heard of
 * ARGV[1]  this one
 * Who has left is counted for ten seconds more: what it has used comes back by then.
 */
const SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 10000)
redis.call('PEXPIRE', KEYS[1], 10000)
return redis.call('ZRANGE', KEYS[1], 0, -1)
`;

export class Releases {
  readonly #connection: Connection;
  readonly #key: string;
  readonly #schema: number;
  #share = 1;
  #isKnown = false;
  #toldAt = Number.NEGATIVE_INFINITY;
  #telling: Promise<void> | undefined;
  /** By bucket: the limits of this process, and the share of them that the ledger was told. */
  readonly #limits = new Map<string, { readonly whole: ConfiguredLimits; readonly share: number }>();
  /** What was not answered is said again word for word. */
  readonly #said = new WeakMap<Exchange, Exchange>();

  constructor(connection: Connection, prefix: string, schema: number) {
    this.#connection = connection;
    this.#key = `{${prefix}:releases}`;
    this.#schema = schema;
  }

  /** Tells that this process is there, once a second at the most; until it knows what there is beside it, it is waited for. */
  async meet(process: string): Promise<void> {
    const now = performance.now();
    if (this.#telling === undefined && now - this.#toldAt >= TELL_MS) {
      this.#toldAt = now;
      const told = () => {
        this.#telling = undefined;
      };
      // What goes wrong here goes wrong with the exchange too, which tells of it.
      this.#telling = this.#tell(`${this.#schema} ${process}`).then(told, told);
    }
    if (!this.#isKnown) await this.#telling;
  }

  async #tell(member: string): Promise<void> {
    const told = (await this.#connection.eval(SCRIPT, [this.#key], [member])) as Buffer[];
    const members = told.map(String);
    const own = members.filter((each) => each.startsWith(`${this.#schema} `)).length;
    this.#share = own / members.length;
    this.#isKnown = true;
  }

  /** The exchange with this ledger's share of the limits, which it is told anew when that has changed. */
  shared(bucket: string, exchange: Exchange): Exchange {
    const before = this.#said.get(exchange);
    if (before !== undefined) return before;
    const told = this.#toldOf(bucket, exchange);
    this.#said.set(exchange, told);
    return told;
  }

  #toldOf(bucket: string, exchange: Exchange): Exchange {
    const known = this.#limits.get(bucket);
    const share = this.#share;
    const whole = exchange.limits ?? known?.whole;
    const isTold = exchange.limits === undefined ? known?.share === share : share === 1;
    if (whole === undefined) return exchange;
    if (exchange.limits !== undefined || !isTold) this.#limits.set(bucket, { whole, share });
    return isTold ? exchange : { ...exchange, limits: shareOf(whole, share) };
  }

  /** The answer with the limits and the processes of all ledgers: nobody is to take a share for all that there is. */
  whole(bucket: string, answer: Answer): Answer {
    const known = this.#limits.get(bucket);
    if (known === undefined || known.share === 1) return answer;
    const { whole, share } = known;
    const levels = Object.entries(answer.levels).map(([name, told]) => {
      const isShare = whole[name as AmountName] !== undefined;
      return [name, isShare ? { ...told, perMinute: told.perMinute / share } : told];
    });
    return {
      ...answer,
      levels: Object.fromEntries(levels) as Answer['levels'],
      processes: Math.round(answer.processes / share),
    };
  }
}

function shareOf({ burst, ...amounts }: ConfiguredLimits, share: number): ConfiguredLimits {
  const { concurrency, ...rates } = amounts;
  return {
    ...Object.fromEntries(Object.entries(rates).map(([name, most]) => [name, Math.max(1, most * share)])),
    ...(concurrency === undefined ? {} : { concurrency: Math.max(1, Math.floor(concurrency * share)) }),
    ...(burst === undefined ? {} : { burst }),
  };
}
