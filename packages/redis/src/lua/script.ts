import { BOOKS, EXCHANGE, MAIN } from './exchange.ts';
import { LIMIT } from './limit.ts';
import { PATH } from './path.ts';
import { QUOTAS } from './quotas.ts';
import { TURNS } from './turns.ts';
import { UPSTREAM } from './upstream.ts';

/** Redis's own time, in milliseconds: the clocks of processes are never asked. */
const CLOCK = `
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
`;

/**
 * One script does everything, since everything it does must be seen whole or not at all.
 *
 * KEYS[1]   state of the bucket: limits, processes, lanes (packed)
 * KEYS[2]   hash, beside it: trails `t:`, paths of processes `v:` and of heads `h:`, last answers `r:`
 * KEYS[3]   hash: when each process was last heard of
 * KEYS[4…]  sorted sets, one for each lane: how far each user was served
 * KEYS[…]   quotas, one for each key that the exchange names (packed)
 * ARGV[1]   the exchange (JSON)
 * ARGV[2]   names of the lanes and quotas, in the order of their keys (JSON)
 * ARGV[3]   channel of the bucket
 */
export const script = (clock = CLOCK): string =>
  ['local parkedBy', clock, BOOKS, LIMIT, PATH, QUOTAS, UPSTREAM, TURNS, EXCHANGE, MAIN].join('\n');
