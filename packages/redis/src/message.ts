import type { Exchange, LedgerEvent, Path, QuotaAsk, QuotaChange } from '@headgate/core';
import { Writer } from './bytes.ts';
import type { Keys } from './keys.ts';

/**
 * An exchange on its way to the script, field after field: written by `writeExchange`, read by the Lua below. JSON took the
 * script longer to read than all that it does with it. `?` is a number that may be left out: not a number then.
 *
 * exchange   seq acked, charges (3), holds: input calls variance, hints? (3)     ddddddddddd
 *            process, has limits, has path                                       Hc0 B B
 *            limits? (5), where there are; path, where there is                  c40 c480
 *            count of lanes: users weight guarantee reserve order, name          H: ddddd Hc0
 *            count of paths that candidates share                                H: c480
 *            count of events                                                     H: event
 *            count of quotas spent, of quotas put right                          H: ask  H: change
 *            count of reservations: id, asks                                     H: d asks
 *            count of candidates: id cost input held output waited tag? (2),
 *              lane (0: not told of), path (0: none), charges, queued, user      H: dddddddd H H B B Hc0 asks
 * path       use, variance, most at each point                                   60 d
 * event      type, and what the type has: see `writeEvent`                       B …
 * asks       count: quota, on exceed, held, concurrency?, count of meters,       H: H B B d H
 *              each: kind amount least? alone? quota, capacity rate | start end,  B dddddd
 *              name                                                              Hc0
 * change     quota slots, count of meters: released used at, name                H d H: ddd Hc0
 */
const EVENTS = ['headers', 'pause', 'endPause', 'overloaded', 'ended', 'corrected', 'ramp'] as const;
const ON_EXCEED = ['refuse', 'wait', 'shadow'] as const;
const KINDS = ['continuous', 'window'] as const;

export function writeExchange(exchange: Exchange, keys: Keys): Buffer {
  const { charges, holds, hints, limits, path, events, spent, quotas, reserve, candidates } = exchange;
  const out = new Writer();
  out.numbers(exchange.seq, exchange.acked, charges.requests, charges.inputTokens, charges.outputTokens);
  out.numbers(holds.inputTokens, holds.calls, holds.variance);
  out.numbers(hints?.requests, hints?.inputTokens, hints?.outputTokens);
  out
    .text(exchange.process)
    .flag(limits !== undefined)
    .flag(path !== undefined);
  if (limits !== undefined) {
    const { requests, inputTokens, outputTokens, burst, concurrency } = limits;
    out.numbers(requests, inputTokens, outputTokens, burst, concurrency);
  }
  if (path !== undefined) writePath(out, path);
  const lanes = Object.entries(exchange.lanes);
  out.short(lanes.length);
  for (const [name, { users, weight, guarantee, reserve, order }] of lanes)
    out.numbers(users, weight, guarantee, reserve, order).text(name);
  const paths = new Map<Path, number>();
  for (const { path } of candidates)
    if (path !== undefined && !paths.has(path)) paths.set(path, paths.size + 1);
  out.short(paths.size);
  for (const path of paths.keys()) writePath(out, path);
  out.short(events.length);
  for (const event of events) writeEvent(out, event, keys);
  writeAsks(out, spent, keys);
  out.short(quotas.length);
  for (const change of quotas) writeChange(out, change, keys);
  out.short(reserve.length);
  for (const { id, quotas } of reserve) writeAsks(out.numbers(id), quotas, keys);
  out.short(candidates.length);
  for (const call of candidates) {
    out.numbers(call.id, call.cost, call.inputTokens, call.inputHeld, call.outputTokens, call.waitedMs);
    out.numbers(call.tag?.epoch, call.tag?.at);
    out.short(keys.lanes.get(call.lane) ?? 0);
    out.short((call.path === undefined ? undefined : paths.get(call.path)) ?? 0);
    out.flag(call.chargesTokens).flag(call.isQueued).text(call.user);
    writeAsks(out, call.quotas, keys);
  }
  return out.bytes;
}

/** The points of time at which the sums of a path are told. */
export const POINTS = 20;

function writePath(out: Writer, { use, variance, most }: Path): void {
  for (const sums of [use, variance, most]) {
    if (sums.length !== POINTS)
      throw new TypeError(`Headgate: a path has ${POINTS} points, and one of ${sums.length} was given`);
    out.list(sums);
  }
}

function writeEvent(out: Writer, event: LedgerEvent, keys: Keys): void {
  out.byte(EVENTS.indexOf(event.type) + 1);
  switch (event.type) {
    case 'headers': {
      const { requests, inputTokens, outputTokens } = event.headroom;
      out.numbers(event.sentAgo).flag(event.isAnswer);
      for (const shown of [requests, inputTokens, outputTokens]) out.numbers(shown?.limit, shown?.remaining);
      break;
    }
    case 'pause':
      out.numbers(event.ms);
      break;
    case 'ramp':
      out.numbers(event.sentAgo, event.ms);
      break;
    case 'endPause':
      break;
    case 'overloaded':
    case 'ended':
      out.numbers(event.startedAgo);
      break;
    case 'corrected':
      out.numbers(event.delta, event.epoch).flag(event.isOwed);
      out.short(keys.lanes.get(event.lane) ?? 0).text(event.user);
      break;
  }
}

function writeAsks(out: Writer, asks: readonly QuotaAsk[], keys: Keys): void {
  out.short(asks.length);
  for (const { key, onExceed, isHeld, concurrency, meters } of asks) {
    out.short(keys.quotas.get(key) ?? 0).byte(ON_EXCEED.indexOf(onExceed) + 1);
    out.flag(isHeld).numbers(concurrency).short(meters.length);
    for (const meter of meters) {
      out.byte(KINDS.indexOf(meter.kind) + 1).numbers(meter.amount, meter.least, meter.alone, meter.quota);
      if (meter.kind === 'window') out.numbers(meter.start, meter.end);
      else out.numbers(meter.capacity, meter.ratePerMs);
      out.text(meter.name);
    }
  }
}

function writeChange(out: Writer, { key, slots, meters }: QuotaChange, keys: Keys): void {
  out
    .short(keys.quotas.get(key) ?? 0)
    .numbers(slots)
    .short(meters.length);
  for (const { name, released, used, at } of meters) out.numbers(released, used, at).text(name);
}

const list = (names: readonly string[]): string => `{ ${names.map((name) => `'${name}'`).join(', ')} }`;

/** The same, in Lua. Lanes and quotas are named by where their keys are. */
export const MESSAGE = `
local EVENTS, ON_EXCEED, KINDS = ${list(EVENTS)}, ${list(ON_EXCEED)}, ${list(KINDS)}

-- Of the message in ARGV[1], read up to readTo.
local message, readTo = ARGV[1], 1
local function read(format) return struct.unpack(format, message, readTo) end
-- What was left out is not a number.
local function given(number) if number == number then return number end end

local laneNames = {}
local function quotaKey(at) return KEYS[3 + #laneNames + at] end

local function readCount()
  local count
  count, readTo = read('<H')
  return count
end
local function readPath()
  local packed
  packed, readTo = read('c480')
  return pathOf(packed)
end
local function readAsks()
  local count = readCount()
  if count == 0 then return NONE end
  local asks = {}
  for n = 1, count do
    local key, onExceed, isHeld, concurrency, meters
    key, onExceed, isHeld, concurrency, meters, readTo = read('<HBBdH')
    local ask = {
      key = quotaKey(key), onExceed = ON_EXCEED[onExceed], isHeld = isHeld == 1, concurrency = given(concurrency),
      meters = {},
    }
    for m = 1, meters do
      local kind, amount, least, alone, quota, first, second, name
      kind, amount, least, alone, quota, first, second, name, readTo = read('<BddddddHc0')
      local meter = {
        name = name, kind = KINDS[kind], amount = amount, least = given(least), alone = given(alone), quota = quota,
      }
      if meter.kind == 'window' then meter.start, meter['end'] = first, second
      else meter.capacity, meter.ratePerMs = first, second end
      ask.meters[m] = meter
    end
    asks[n] = ask
  end
  return asks
end
local function readShown()
  local limit, remaining
  limit, remaining, readTo = read('<dd')
  return given(limit) and { limit = limit, remaining = remaining }
end
local function readEvent()
  local kind
  kind, readTo = read('<B')
  local event = { type = EVENTS[kind] }
  if event.type == 'headers' then
    local isAnswer
    event.sentAgo, isAnswer, readTo = read('<dB')
    event.isAnswer = isAnswer == 1
    event.headroom = { requests = readShown(), inputTokens = readShown(), outputTokens = readShown() }
  elseif event.type == 'pause' then
    event.ms, readTo = read('<d')
  elseif event.type == 'ramp' then
    event.sentAgo, event.ms, readTo = read('<dd')
  elseif event.type == 'overloaded' or event.type == 'ended' then
    event.startedAgo, readTo = read('<d')
  elseif event.type == 'corrected' then
    local isOwed, lane
    event.delta, event.epoch, isOwed, lane, event.user, readTo = read('<ddBHHc0')
    event.isOwed, event.lane = isOwed == 1, laneNames[lane]
  end
  return event
end
local function readChange()
  local key, slots, count
  key, slots, count, readTo = read('<HdH')
  local meters = {}
  for m = 1, count do
    local meter = {}
    meter.released, meter.used, meter.at, meter.name, readTo = read('<dddHc0')
    meters[m] = meter
  end
  return { key = quotaKey(key), slots = slots, meters = meters }
end
local function readCandidate(paths)
  local id, cost, input, held, output, waited, epoch, at, lane, path, charges, queued, user
  id, cost, input, held, output, waited, epoch, at, lane, path, charges, queued, user, readTo =
    read('<ddddddddHHBBHc0')
  return {
    id = id, lane = laneNames[lane], user = user, cost = cost, chargesTokens = charges == 1, inputTokens = input,
    inputHeld = held, outputTokens = output, path = paths[path], waitedMs = waited, isQueued = queued == 1,
    epoch = given(epoch), at = at, quotas = readAsks(),
  }
end
local function readMany(readOne, ...)
  local count = readCount()
  if count == 0 then return NONE end
  local many = {}
  for n = 1, count do many[n] = readOne(...) end
  return many
end
local function readLane()
  local lane = {}
  lane.users, lane.weight, lane.guarantee, lane.reserve, lane.order, lane.name, readTo = read('<dddddHc0')
  laneNames[#laneNames + 1] = lane.name
  laneKeys[lane.name] = KEYS[3 + #laneNames]
  return lane
end
local function readReservation()
  local id
  id, readTo = read('<d')
  return { id = id, quotas = readAsks() }
end
local function readExchange()
  local charges, hints, exchange, hasLimits, hasPath = {}, {}, {}
  exchange.seq, exchange.acked, charges.requests, charges.inputTokens, charges.outputTokens,
    exchange.inputHeld, exchange.calls, exchange.variance,
    hints.requests, hints.inputTokens, hints.outputTokens,
    exchange.process, hasLimits, hasPath, readTo = read('<dddddddddddHc0BB')
  exchange.charges, exchange.hints = charges, hints
  if hasLimits == 1 then exchange.limits, readTo = read('c40') end
  if hasPath == 1 then exchange.path = readPath() end
  exchange.lanes = readMany(readLane)
  local paths = readMany(readPath)
  exchange.events = readMany(readEvent)
  exchange.spent = readAsks()
  exchange.quotas = readMany(readChange)
  exchange.reserve = readMany(readReservation)
  exchange.candidates = readMany(readCandidate, paths)
  return exchange
end
`;
