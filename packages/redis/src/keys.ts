import { createHash } from 'node:crypto';
import type { Exchange } from '@headgate/core';

/** Of what is kept in Redis: releases that keep it otherwise use other keys, and do not disturb each other. */
export const SCHEMA = 1;

export interface Keys {
  readonly keys: string[];
  /** Names that the exchange uses, in the order of their keys. */
  readonly names: { readonly lanes: string[]; readonly quotas: string[] };
  readonly channel: string;
}

/** Names of buckets may tell of accounts: a hash does not. */
const hash = (text: string) => createHash('sha256').update(text).digest('base64url').slice(0, 22);

/** What every key begins with: one hash slot for a whole fleet, since one call may draw on any two of its keys at once. */
export const baseOf = (prefix: string): string => `{${prefix}:${SCHEMA}}`;

export const channelOf = (prefix: string, bucket: string): string => `${baseOf(prefix)}:wake:${hash(bucket)}`;

export function keysOf(prefix: string, bucket: string, exchange: Exchange): Keys {
  const base = baseOf(prefix);
  const own = `${base}:b:${hash(bucket)}`;
  const lanes = Object.keys(exchange.lanes);
  const quotas = [
    ...new Set(
      [
        ...exchange.quotas,
        ...exchange.spent,
        ...exchange.reserve.flatMap((each) => each.quotas),
        ...exchange.candidates.flatMap((each) => each.quotas),
      ].map(({ key }) => key),
    ),
  ];
  return {
    keys: [
      own,
      `${own}:side`,
      `${base}:processes`,
      ...lanes.map((lane) => `${own}:tags:${lane}`),
      ...quotas.map((key) => `${base}:q:${key}`),
    ],
    names: { lanes, quotas },
    channel: channelOf(prefix, bucket),
  };
}
