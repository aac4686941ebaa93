import { createHash } from 'node:crypto';
import { ANSWER } from '../answer.ts';
import { MESSAGE } from '../message.ts';
import { ASKS } from './asks.ts';
import { BOOKS } from './books.ts';
import { EXCHANGE, MAIN } from './exchange.ts';
import { LIMIT } from './limit.ts';
import { PATH } from './path.ts';
import { QUOTAS } from './quotas.ts';
import { RAMP } from './ramp.ts';
import { STATE } from './state.ts';
import { TURNS } from './turns.ts';
import { UPSTREAM } from './upstream.ts';

/** Redis's own time, in milliseconds: the clocks of processes are never asked. */
const CLOCK = `
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
`;

/** As Redis knows it: sent in full once, and by its hash from then on. */
export interface Script {
  readonly source: string;
  readonly sha: string;
}

export const scriptOf = (source: string): Script => ({
  source,
  sha: createHash('sha1').update(source).digest('hex'),
});

/**
 * One script does everything, since everything it does must be seen whole or not at all.
 *
 * KEYS[1]   state of the bucket: limits, processes, lanes (lua/state.ts)
 * KEYS[2]   hash, beside it: trails `t:`, paths of processes `v:` and of heads `h:`, last answers `r:`
 *           (and with `:r:` and a process after it, its last answer, for an hour after it was given up)
 * KEYS[3]   hash: when each process was last heard of
 * KEYS[4…]  sorted sets, one for each lane: how far each user was served
 * KEYS[…]   quotas, one for each key that the exchange names
 * ARGV[1]   the exchange (message.ts)
 * ARGV[2]   channel of the bucket
 * ARGV[3]   what the channel of each process begins with; empty where nobody can be asked who listens
 */
export const script = (clock = CLOCK): string =>
  nested([
    clock + BOOKS + PATH,
    MESSAGE + ANSWER + RAMP + STATE,
    LIMIT + QUOTAS + ASKS + UPSTREAM,
    TURNS + EXCHANGE + MAIN,
  ]);

/**
 * Each part in a function inside the part before. Redis runs all of it with each call, and Lua looks for a local that a function
 * uses through all that are in use since: in one flat script that took a tenth of the time. A function may use sixty of them at the most.
 */
const nested = ([part = '', ...rest]: readonly string[]): string =>
  rest.length === 0 ? part : `${part}\nreturn (function()\n${nested(rest)}\nend)()`;
