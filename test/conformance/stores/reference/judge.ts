import type { Candidate, LevelTold } from '@headgate/core';
import {
  AMOUNTS,
  callsOf,
  grantsOf,
  type History,
  limitsAlong,
  living,
  pausedUntil,
  type Said,
  same,
} from './history.ts';
import { isFoundOut, type Level, levelOf, needOf } from './levels.ts';
import { lowestOf, mostOf, runningOf } from './paths.ts';
import { ReferenceQuotas } from './quotas.ts';

/** No more than this share of a bucket is ever left in it on purpose, beside the reserve of a lane. */
const LEFT = 0.3;
/** A lane that was kept from its guarantee for so long draws on its reserve: in a longer run nothing is expected of reserves. */
const LATE_MS = 60_000;
const REASONS: Readonly<Record<string, (typeof AMOUNTS)[number]>> = {
  requests_per_minute: 'requests',
  input_tokens_per_minute: 'inputTokens',
  output_tokens_per_minute: 'outputTokens',
};

/** Holds the last answer against all that was said until then. Throws where it is not what the contract promises. */
export function judge(history: History): void {
  const last = history.at(-1);
  if (last === undefined) return;
  const { at, exchange, answer } = last;
  const alive = living(history, at);
  const { concurrency } = limitsAlong(history).at(-1) ?? {};
  same('processes', answer.processes, alive.size);
  same('calls', answer.calls, callsOf(history, at));
  same('pausedMs', answer.pausedMs, Math.max(0, pausedUntil(history) - at));
  same('concurrency', answer.concurrency, concurrency);
  same('results', answer.results.length, exchange.candidates.length + exchange.reserve.length);
  judgeUsers(alive, last);
  if (grantsOf(last).length > 0) {
    if (answer.pausedMs > 0) throw new Error('granted in a pause');
    if (answer.calls > (concurrency ?? Number.POSITIVE_INFINITY))
      throw new Error(`${answer.calls} calls at once of ${concurrency}`);
    for (const [n, call] of grantsOf(last).entries()) {
      const calls = answer.calls - grantsOf(last).length + n;
      if (calls >= slotsOf(concurrency, reserveOf(history, last, call)))
        throw new Error(`a lane with a reserve is granted slot ${calls + 1} of ${concurrency}`);
    }
  }
  for (const name of AMOUNTS) judgeLevel(history, last, name, answer.levels[name]);
  for (const { id, type } of answer.results) {
    const call = exchange.candidates.find((each) => each.id === id);
    if (type === 'waits' && call !== undefined) judgeWait(history, last, call);
  }
  // Judges as it goes through them.
  new ReferenceQuotas(history);
}

/** Slots that a lane may use: all but its reserve, which is rounded up, and one at the least. */
function slotsOf(concurrency: number | undefined, reserve: number): number {
  if (concurrency === undefined) return Number.POSITIVE_INFINITY;
  return Math.max(1, Math.floor(concurrency - concurrency * reserve + 1e-9));
}

/** Users with calls waiting are those that all processes told of last. */
function judgeUsers(alive: ReadonlyMap<string, Said>, { exchange, answer }: Said): void {
  for (const lane of Object.keys(exchange.lanes)) {
    let users = 0;
    for (const said of alive.values()) users += usersAfter(said, lane);
    same(`users of ${lane}`, answer.users[lane] ?? 0, users);
  }
}

/** A lane in which nobody was told to wait, and as many calls were let in as it had users, is empty. */
function usersAfter(said: Said, lane: string): number {
  const users = said.exchange.lanes[lane]?.users ?? 0;
  const isWaiting = waitingOf(said).some((call) => call.lane === lane);
  return isWaiting || users > grantsOf(said).length ? users : 0;
}

const waitingOf = ({ exchange, answer }: Said): Candidate[] =>
  exchange.candidates.filter(({ id }) =>
    answer.results.some((each) => each.id === id && each.type === 'waits'),
  );

function judgeLevel(
  history: History,
  last: Said,
  name: (typeof AMOUNTS)[number],
  told: LevelTold | undefined,
): void {
  const level = levelOf(history, name);
  if (isFoundOut(history, name)) return;
  same(`level of ${name}`, told?.level, level?.free);
  same(`capacity of ${name}`, told?.capacity, level?.capacity);
  same(`refill of ${name}`, told?.ratePerMs, level?.ratePerMs);
  if (level === undefined) return;
  for (const [n, call] of grantsOf(last).entries()) {
    const reserved = reserveOf(history, last, call) * level.capacity;
    const free = (level.beforeGrants[n] ?? 0) - reserved;
    if (name === 'outputTokens' && call.chargesTokens && call.path !== undefined)
      judgePath(history, last, n, free, level);
    // One that is deeper than the bucket goes when it is full.
    const need = Math.min(needOf(call, name), level.capacity - reserved);
    if (needOf(call, name) > 0 && free < need - 1e-3) throw new Error(`${name}: ${need} granted of ${free}`);
  }
}

/** Nothing is let in that would bring the level below nothing, but for the first of all, of a full bucket. */
function judgePath(history: History, last: Said, n: number, free: number, level: Level): void {
  const before = callsOf(history, last.at) - grantsOf(last).length + n;
  if (before === 0 && level.beforeGrants[n] !== undefined && level.beforeGrants[n] >= 0.85 * level.capacity)
    return;
  const lowest = lowestOf(runningOf(history, n + 1), last.at, free, level);
  if (lowest < -1e-3) throw new Error(`granted, with which output is going to be ${lowest}`);
}

function reserveOf(history: History, { at, exchange }: Said, { lane }: Candidate): number {
  if (at - (history[0]?.at ?? 0) >= LATE_MS) return 0;
  return exchange.lanes[lane]?.reserve ?? 0;
}

/** Nobody waits for what is plainly there: whoever does is told a reason that holds, and no shorter wait than that takes. */
function judgeWait(history: History, last: Said, call: Candidate): void {
  const { at, exchange, answer } = last;
  const told = answer.results.find(({ id }) => id === call.id);
  if (told?.type !== 'waits') return;
  const { reason, waitMs } = told;
  if (reason === 'queue') {
    const isHeldUp = answer.results.some((each) => each.type === 'waits' && each.reason !== 'queue');
    const others = [...living(history, at).values()].filter((said) => said !== last);
    if (!isHeldUp && others.every((said) => waitingOf(said).length === 0))
      throw new Error('waits behind nobody');
  } else if (reason === 'upstream_paused') {
    if (answer.pausedMs <= 0) throw new Error('waits for the end of no pause');
    same('wait for the end of a pause', waitMs, answer.pausedMs);
  } else if (reason === 'concurrency') {
    if (answer.calls < slotsOf(answer.concurrency, exchange.lanes[call.lane]?.reserve ?? 0))
      throw new Error('waits for a slot that is free');
  } else {
    const name = REASONS[reason];
    const level = name === undefined ? undefined : answer.levels[name];
    if (name === undefined || level === undefined) throw new Error(`waits for ${reason}`);
    const reserve = exchange.lanes[call.lane]?.reserve ?? 0;
    const room = level.level - (LEFT + reserve) * level.capacity;
    if (name === 'outputTokens' && call.path !== undefined) {
      const all = [...runningOf(history, Number.POSITIVE_INFINITY), { from: at, path: call.path }];
      if (mostOf(all) <= room) throw new Error('waits for output, of which there is enough for all');
      return;
    }
    const need = needOf(call, name);
    if (need <= room) throw new Error(`waits for ${need} ${name}, and there are ${level.level}`);
    // It was looked at before the last of those who went.
    const most = Math.max(level.level, ...(levelOf(history, name)?.beforeGrants ?? []));
    const missing = Math.min(need, level.capacity * (1 - reserve)) - most + reserve * level.capacity;
    if ((waitMs ?? 0) < missing / level.ratePerMs - 1e-3 && at - (history[0]?.at ?? 0) < LATE_MS)
      throw new Error(`is to wait ${waitMs} ms until ${missing} ${name} are there`);
  }
}
