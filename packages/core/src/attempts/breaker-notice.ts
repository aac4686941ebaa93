import { isHashOfName } from '../hash.ts';
import { isRecord } from '../json.ts';
import { readNotice } from '../notice.ts';
import { BREAKER_MOVES, type BreakerTold } from './breaker.ts';
import type { BreakersTold } from './breakers.ts';
import type { SpendLimitTold } from './spend-limits.ts';

/** Of the way in which it is written: what has another is not read. */
const VERSION = 1;
/** Breakers, and limits of money, of one notice, at most. */
const MAX_TOLD = 256;
/** No number of a notice is larger; times are in milliseconds. */
const LARGEST = 1e12;
const CODE = /^[a-z_]{1,64}$/;

/**
 * What a process tells of its breakers, on its way over the board: `{ version, breakers: { [hash]: [sent, failed, n, move, ms, nextMs,
 * successes, callers, failing, top, topSent, topFailed] }, spend: [[account, agoMs, ms, code, caller]], reset: [n, agoMs] }`.
 */
export function writeBreakers({ breakers, spendLimits, reset }: BreakersTold): string {
  const told = [...breakers]
    .slice(0, MAX_TOLD)
    .map(([hash, { sent, failed, callers, failing, top, move }]) => {
      const { n = 0, to, ms = 0, nextMs = 0, successes = 0 } = move ?? {};
      const at = to === undefined ? -1 : BREAKER_MOVES.indexOf(to);
      const most = top === undefined ? [] : [top.hash, top.sent, top.failed];
      return [hash, [sent, failed, n, at, Math.round(ms), nextMs, successes, callers, failing, ...most]];
    });
  return JSON.stringify({
    version: VERSION,
    breakers: Object.fromEntries(told),
    spend: spendLimits
      .slice(0, MAX_TOLD)
      .map(({ account, agoMs, ms, code, caller }) => [
        account,
        Math.round(agoMs),
        Math.round(ms),
        code,
        caller,
      ]),
    ...(reset === undefined ? {} : { reset: [reset.n, Math.round(reset.agoMs)] }),
  });
}

/** Nothing where it is not as it is written here. */
export function readBreakers(notice: string): BreakersTold | undefined {
  const json = readNotice(notice, VERSION);
  if (json === undefined || !isRecord(json.breakers)) return undefined;
  const breakers = new Map<string, BreakerTold>();
  for (const [hash, told] of Object.entries(json.breakers).slice(0, MAX_TOLD)) {
    const breaker = readBreaker(told);
    if (isHashOfName(hash) && breaker !== undefined) breakers.set(hash, breaker);
  }
  const spendLimits = (Array.isArray(json.spend) ? json.spend.slice(0, MAX_TOLD) : []).flatMap(
    readSpendLimit,
  );
  const [n, agoMs] = Array.isArray(json.reset) ? json.reset : [];
  const reset = isAmount(n) && isAmount(agoMs) ? { reset: { n, agoMs } } : {};
  return { breakers, spendLimits, ...reset };
}

function readBreaker(told: unknown): BreakerTold | undefined {
  if (!Array.isArray(told)) return undefined;
  const [sent, failed, n, at, ms, nextMs, successes, callers, failing, ...most] = told as unknown[];
  if (!isAmount(sent) || !isAmount(failed)) return undefined;
  const to = typeof at === 'number' ? BREAKER_MOVES[at] : undefined;
  const summary = { sent, failed, ...readCallers(sent, failed, callers, failing, most) };
  if (to === undefined || !isAmount(n) || !isAmount(ms) || !isAmount(nextMs) || !isAmount(successes))
    return summary;
  return { ...summary, move: { n, to, ms, nextMs, successes } };
}

/** A process of a release that does not tell callers counts as one caller. */
function readCallers(sent: number, failed: number, callers: unknown, failing: unknown, most: unknown[]) {
  if (!isAmount(callers) || !isAmount(failing)) return { callers: 1, failing: 2 * failed >= sent ? 1 : 0 };
  const [hash, topSent, topFailed] = most;
  if (typeof hash !== 'string' || !isHashOfName(hash) || !isAmount(topSent) || !isAmount(topFailed))
    return { callers, failing };
  return { callers, failing, top: { hash, sent: topSent, failed: topFailed } };
}

function readSpendLimit(told: unknown): SpendLimitTold[] {
  if (!Array.isArray(told)) return [];
  const [account, agoMs, ms, code, caller = ''] = told as unknown[];
  if (typeof account !== 'string' || typeof code !== 'string' || !CODE.test(code)) return [];
  if (typeof caller !== 'string' || (caller !== '' && !isHashOfName(caller))) return [];
  return isAmount(agoMs) && isAmount(ms) ? [{ account, agoMs, ms, code, caller }] : [];
}

const isAmount = (value: unknown): value is number =>
  typeof value === 'number' && value >= 0 && value <= LARGEST;
