import type { AmountName, Answer, LevelTold, Result, Wake } from '@headgate/core';
import { Reader } from './bytes.ts';

/**
 * An answer on its way from the script, field after field: written by the Lua below, read by `readAnswer`. `?` is a number that
 * may be left out: not a number then.
 *
 * answer     now, paused, concurrency?, pace?, calls, processes, unknown         dddddd B
 *            count of levels: amount, source, limit capacity level rate          H: BB dddd
 *            count of lanes: users, name                                         H: d Hc0
 *            count of turns to wake for, one or none: wait, process              H: d Hc0
 *            count of results: type, id, and what the type has                   H: B d
 * granted    had a turn; epoch, owed, where the next starts                      B: d B d
 * waits      reason, wait?, lead, epoch?, where it starts                        B dddd
 * exceeded   quota, on exceed, reason, wait?                                     H BB d
 */
const AMOUNTS = ['requests', 'inputTokens', 'outputTokens'] as const;
const SOURCES = ['configured', 'learned', 'probe'] as const;
const TYPES = ['granted', 'waits', 'exceeded'] as const;
const ON_EXCEED = ['refuse', 'wait'] as const;
const REASONS = [
  'queue',
  'requests_per_minute',
  'input_tokens_per_minute',
  'output_tokens_per_minute',
  'concurrency',
  'upstream_paused',
  'user_quota',
  'budget',
] as const;

/** @throws Error where it is no answer. */
export function readAnswer(bytes: Buffer): Answer {
  const from = new Reader(bytes);
  const now = from.number();
  const pausedMs = from.number();
  const concurrency = from.optional();
  const pacePerMs = from.optional();
  const calls = from.number();
  const processes = from.number();
  const isUnknown = from.flag();
  const levels: Partial<Record<AmountName, LevelTold>> = {};
  for (let left = from.short(); left > 0; left--) {
    const name = named(AMOUNTS, from.byte());
    const source = named(SOURCES, from.byte());
    const perMinute = from.number();
    const capacity = from.number();
    levels[name] = { perMinute, source, capacity, level: from.number(), ratePerMs: from.number() };
  }
  const users: Record<string, number> = {};
  for (let left = from.short(); left > 0; left--) {
    const count = from.number();
    users[from.text()] = count;
  }
  const [wake] = from.times(from.short(), (): Wake => ({ waitMs: from.number(), process: from.text() }));
  const results = from.times(from.short(), () => readResult(from));
  return {
    now,
    isUnknown,
    results,
    levels,
    pausedMs,
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(pacePerMs === undefined ? {} : { pacePerMs }),
    calls,
    processes,
    users,
    ...(wake === undefined ? {} : { wake }),
  };
}

function readResult(from: Reader): Result {
  const type = named(TYPES, from.byte());
  const id = from.number();
  if (type === 'granted') {
    if (!from.flag()) return { id, type };
    const epoch = from.number();
    const isOwed = from.flag();
    return { id, type, turn: { epoch, isOwed }, tag: { epoch, at: from.number() } };
  }
  if (type === 'waits') {
    const reason = named(REASONS, from.byte());
    const waitMs = from.optional();
    const lead = from.number();
    const epoch = from.optional();
    const at = from.number();
    const tag = epoch === undefined ? {} : { tag: { epoch, at } };
    return { id, type, reason, lead, ...tag, ...(waitMs === undefined ? {} : { waitMs }) };
  }
  const quota = from.short();
  const onExceed = named(ON_EXCEED, from.byte());
  const reason = named(REASONS, from.byte());
  const waitMs = from.optional();
  return { id, type, quota, onExceed, reason, ...(waitMs === undefined ? {} : { waitMs }) };
}

function named<T>(names: readonly T[], at: number): T {
  const name = names[at - 1];
  if (name === undefined) throw new TypeError(`Headgate: Redis gave an answer that is none (${at})`);
  return name;
}

const places = (names: readonly string[]): string =>
  `{ ${names.map((name, at) => `${name} = ${at + 1}`).join(', ')} }`;

/** The same, in Lua. */
export const ANSWER = `
local AMOUNT_AT, SOURCE_AT, REASON_AT = ${places(AMOUNTS)}, ${places(SOURCES)}, ${places(REASONS)}
local ON_EXCEED_AT = ${places(ON_EXCEED)}
local LEFT_OUT = 0 / 0

local function writeResult(result)
  local kind = result.type
  if kind == 'granted' then
    local epoch = result.epoch
    if not epoch then return struct.pack('<BdB', 1, result.id, 0) end
    return struct.pack('<BdBdBd', 1, result.id, 1, epoch, result.isOwed and 1 or 0, result.at)
  elseif kind == 'waits' then
    return struct.pack('<BdBdddd', 2, result.id, REASON_AT[result.reason], result.waitMs or LEFT_OUT, result.lead,
      result.epoch or LEFT_OUT, result.at or LEFT_OUT)
  end
  return struct.pack('<BdHBBd', 3, result.id, result.quota, ON_EXCEED_AT[result.onExceed], REASON_AT[result.reason],
    result.waitMs or LEFT_OUT)
end
local function writeAnswer(answer)
  local parts = {}
  local function add(...) parts[#parts + 1] = struct.pack(...) end
  add('<ddddddB', answer.now, answer.pausedMs, answer.concurrency or LEFT_OUT, answer.pacePerMs or LEFT_OUT,
    answer.calls, answer.processes, answer.isUnknown and 1 or 0)
  add('<H', #answer.levels)
  for _, level in ipairs(answer.levels) do
    add('<BBdddd', AMOUNT_AT[level.name], SOURCE_AT[level.source], level.perMinute, level.capacity, level.level, level.ratePerMs)
  end
  local lanes = 0
  for _ in pairs(answer.users) do lanes = lanes + 1 end
  add('<H', lanes)
  for lane, users in pairs(answer.users) do add('<dHc0', users, #lane, lane) end
  local wake = answer.wake
  if wake then add('<HdHc0', 1, wake.waitMs, #wake.process, wake.process) else add('<H', 0) end
  add('<H', #answer.results)
  for _, result in ipairs(answer.results) do parts[#parts + 1] = writeResult(result) end
  return table.concat(parts)
end
`;

/** A message of the channel; nothing where somebody else has written it. */
export function readWake(text: string): Wake | undefined {
  try {
    const wake = JSON.parse(text) as Partial<Wake> | null;
    if (typeof wake?.process === 'string' && typeof wake.waitMs === 'number')
      return { process: wake.process, waitMs: wake.waitMs };
  } catch {
    // Not ours.
  }
  return undefined;
}
