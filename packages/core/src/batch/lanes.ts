import { closedError } from '../errors.ts';
import type { BatchJournal } from '../stores/batch-journal.ts';
import { BatchApi } from './api.ts';
import { Lane, type LaneParts } from './lane.ts';
import type { BatchClient } from './types.ts';

export interface LanesParts extends Omit<LaneParts, 'account' | 'api' | 'journal'> {
  /** The journal, opened when it is first needed. */
  makeJournal(): BatchJournal;
  /** A governed client of an account, by which the API is reached. */
  govern(client: BatchClient, account: string): BatchClient;
}

/** The user that requests to the batch endpoints are made as, for the fairness of their queue. */
const OWN_USER = 'headgate';

/** One batch lane for each account. */
export class BatchLanes {
  readonly #parts: LanesParts;
  readonly #lanes = new Map<string, Lane>();
  /** How the API of an account is reached: by the first client that was governed for it. */
  readonly #clients = new Map<string, BatchClient>();
  #journal: BatchJournal | undefined;
  #isTaking = true;

  constructor(parts: LanesParts) {
    this.#parts = parts;
  }

  /** A client of an account passes by: the lane will use the first. One without batches is of no use here. */
  seen(client: object, account: string): void {
    if (!this.#clients.has(account) && isBatchClient(client)) this.#clients.set(account, client);
  }

  of(account: string): Lane {
    const known = this.#lanes.get(account);
    if (known !== undefined) return known;
    if (!this.#isTaking) throw closedError();
    const client = this.#clients.get(account);
    if (client === undefined) {
      throw new TypeError(
        `Headgate batch: no client of account "${account}" has been governed that has Message Batches; use governor.govern(client) or governor.batches(client)`,
      );
    }
    const { makeJournal, govern, ...parts } = this.#parts;
    this.#journal ??= makeJournal();
    const { scopes, rules } = parts;
    const within = <T>(fn: () => T): T =>
      scopes.outside(() => {
        const lane = Object.keys(rules().config.lanes).at(-1);
        return scopes.run(scopes.open({ user: OWN_USER, lane, fallback: false }), fn);
      });
    const api = new BatchApi(govern(client, account), within);
    const journal = this.#journal;
    // Its timers outlive whichever call happens to be the first.
    const lane = scopes.outside(() => new Lane({ ...parts, account, api, journal }));
    this.#lanes.set(account, lane);
    return lane;
  }

  get pending(): number {
    return [...this.#lanes.values()].reduce((sum, lane) => sum + lane.pendingCount, 0);
  }

  snapshot() {
    return [...this.#lanes.values()].map((lane) => lane.snapshot());
  }

  /** Refuses new requests, and opens no lane any more; those that there are go on. */
  stopTaking(): void {
    this.#isTaking = false;
    for (const lane of this.#lanes.values()) lane.stopTaking();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#lanes.values()].map((lane) => lane.close()));
    await this.#journal?.end();
  }
}

function isBatchClient(client: object): client is BatchClient {
  const { messages, get, post } = client as { messages?: unknown; get?: unknown; post?: unknown };
  const hasBatches = typeof messages === 'object' && messages !== null && 'batches' in messages;
  return hasBatches && typeof get === 'function' && typeof post === 'function';
}
