import { createHash } from 'node:crypto';
import type { Exchange } from '@headgate/core';

/**
 * Of what is kept in Redis: releases that keep it otherwise use other keys, and share the limits (releases.ts). Raised with every
 * change of what one release writes and another reads, which `recorded-state.test.ts` notices.
 */
export const SCHEMA = 4;

export interface Keys {
  /** As the script has them: see lua/script.ts. */
  readonly keys: string[];
  /** Where among the keys of lanes, and of quotas, each name's own is; counted from 1, as Lua does. */
  readonly lanes: ReadonlyMap<string, number>;
  readonly quotas: ReadonlyMap<string, number>;
}

/** What every key begins with: one hash slot for a whole fleet, since one call may draw on any two of its keys at once. */
export const baseOf = (prefix: string): string => `{${prefix}:${SCHEMA}}`;

/** A topic of the notice board; its channel has the same name. */
export const boardKey = (prefix: string, topic: string): string => `${baseOf(prefix)}:board:${topic}`;

/** The channel that tells of free slots of a quota. */
export const slotChannel = (prefix: string, key: string): string => `${baseOf(prefix)}:slot:${key}`;

/** The names of one bucket's keys. Its own name may tell of an account: a hash does not. */
export interface BucketNames {
  readonly base: string;
  readonly own: string;
  readonly channel: string;
  /** What the channels begin with to which processes listen as long as they live. */
  readonly alive: string;
}

export function namesOf(prefix: string, bucket: string): BucketNames {
  const base = baseOf(prefix);
  const hash = createHash('sha256').update(bucket).digest('base64url').slice(0, 22);
  return {
    base,
    own: `${base}:b:${hash}`,
    channel: `${base}:wake:${hash}`,
    alive: `${base}:alive:`,
  };
}

export function keysOf({ base, own }: BucketNames, exchange: Exchange): Keys {
  const keys = [own, `${own}:side`, `${base}:processes`];
  const lanes = new Map<string, number>();
  for (const lane of Object.keys(exchange.lanes)) {
    keys.push(`${own}:tags:${lane}`);
    lanes.set(lane, lanes.size + 1);
  }
  const quotas = new Map<string, number>();
  const name = (asks: readonly { readonly key: string }[]) => {
    for (const { key } of asks) {
      if (quotas.has(key)) continue;
      keys.push(`${base}:q:${key}`);
      quotas.set(key, quotas.size + 1);
    }
  };
  name(exchange.quotas);
  name(exchange.spent);
  for (const { quotas: asks } of exchange.reserve) name(asks);
  for (const { quotas: asks } of exchange.candidates) name(asks);
  return { keys, lanes, quotas };
}
