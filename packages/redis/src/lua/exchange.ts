/** packages/core/src/stores/ledger/exchange.ts, in Lua, and what reads and writes the keys. */
export const BOOKS = `
local LEASE_MS, HEAD_MS, GRACE_MS = 10000, 2500, 50

local function sortedKeys(map)
  local keys = {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

-- Fields of the side, read once, written at the end.
local side, sideDirty = {}, {}
local function sideGet(field)
  local known = side[field]
  if known == nil then
    local packed = redis.call('HGET', KEYS[2], field)
    known = packed and cmsgpack.unpack(packed) or false
    side[field] = known
  end
  return known or nil
end
local function sideSet(field, values)
  side[field] = values
  sideDirty[field] = true
end
local function sideDelete(field) sideSet(field, false) end

local seen = {}
local function seenAt(process)
  if seen[process] == nil then seen[process] = tonumber(redis.call('HGET', KEYS[3], process) or '0') end
  return seen[process]
end
local function forgetProcess(process, now)
  if seenAt(process) < now - LEASE_MS then redis.call('HDEL', KEYS[3], process) end
end

-- The keys of lanes and quotas, by the names that the exchange uses.
local laneKeys, quotaKeys = {}, {}
local quotas = {}
local function quotaOf(key)
  local known = quotas[key]
  if not known then
    local packed = redis.call('GET', quotaKeys[key])
    known = packed and cmsgpack.unpack(packed) or { meters = {}, claims = {} }
    quotas[key] = known
  end
  return known
end
local function tagOf(lane, user)
  local tag = redis.call('ZSCORE', laneKeys[lane], user)
  return tag and tonumber(tag) or nil
end
local function setTag(lane, user, tag)
  redis.call('ZADD', laneKeys[lane], string.format('%.17g', tag), user)
  redis.call('PEXPIRE', laneKeys[lane], 600000)
end
local function forgetTags(lane, time)
  if time then redis.call('ZREMRANGEBYSCORE', laneKeys[lane], '-inf', string.format('%.17g', time))
  else redis.call('DEL', laneKeys[lane]) end
end
`;

export const EXCHANGE = `
local function exceededBy(id, index, onExceed, binding)
  local waitMs = binding.waitMs
  if waitMs == UNTIL_ANOTHER_ENDS then waitMs = nil end
  return { id = id, type = 'exceeded', quota = index - 1, onExceed = onExceed, reason = binding.reason, waitMs = waitMs }
end
local function arrive(id, asks, process, now)
  for index, ask in ipairs(asks) do
    if not ask.isHeld and ask.onExceed ~= 'shadow' then
      local state = quotaOf(ask.key)
      forgetDead(state, process, now)
      local binding = bindingOf(state, ask, now)
      if binding and (ask.onExceed == 'refuse' or binding.waitMs == NEVER_FITS) then
        return exceededBy(id, index, 'refuse', binding)
      end
    end
  end
  for _, ask in ipairs(asks) do
    if not ask.isHeld and ask.onExceed ~= 'wait' then reserve(quotaOf(ask.key), ask, process) end
  end
  return nil
end
function parkedBy(asking, process, now)
  for index, ask in ipairs(asking.call.quotas) do
    if ask.onExceed == 'wait' then
      local state = quotaOf(ask.key)
      forgetDead(state, process, now)
      local binding = bindingOf(state, ask, now)
      if binding then return exceededBy(asking.call.id, index, 'wait', binding) end
    end
  end
  return nil
end

local function settle(state, me, exchange, now)
  for _, name in ipairs(NAMES) do
    if state.limits[name] then charge(state.limits[name], exchange.charges[name], now) end
  end
  local holds = exchange.holds
  if state.limits.inputTokens then hold(state.limits.inputTokens, holds.inputTokens - me.inputHeld, now) end
  me.inputHeld, me.calls, me.variance = holds.inputTokens, holds.calls, holds.variance
  if not exchange.path then return end
  sideSet('v:' .. exchange.process, sumOf(exchange.path, now))
  sideDelete('s')
end

local function register(state, me, name, turn, before, lanes, results, now)
  local left = {}
  for _, asking in ipairs(turn.asking) do
    local call, start = asking.call, asking.start
    left[call.lane] = true
    local lane, short = state.lanes[call.lane], turn.waits[call.id]
    results[#results + 1] = {
      id = call.id, type = 'waits', reason = short and short.reason or 'queue', lead = start - lane.time,
      tag = { epoch = lane.epoch, at = start },
      waitMs = short and short.waitMs ~= UNKNOWN_WAIT and short.waitMs or nil,
    }
    local first = me.heads[call.lane]
    local own = { start = start, since = asking.since, process = name }
    if not first or isBefore(own, { start = first.start, since = first.since, process = name }) then
      me.heads[call.lane] = {
        id = call.id, start = start, since = asking.since, cost = call.cost,
        chargesTokens = call.chargesTokens, inputTokens = call.inputTokens, inputHeld = call.inputHeld,
        outputTokens = call.outputTokens, hasPath = call.path ~= nil, fitsSince = 0,
      }
      if asking.path then sideSet('h:' .. name .. ':' .. call.lane, asking.path) end
    end
  end
  for lane in pairs(before) do
    if not me.heads[lane] then sideDelete('h:' .. name .. ':' .. lane) end
  end
  for _, lane in ipairs(sortedKeys(me.users)) do
    if not left[lane] and me.users[lane] <= turn.granted then me.users[lane] = nil end
  end
  for _, each in ipairs(lanes) do
    local lane = state.lanes[each]
    if lane.time ~= 0 and usersOf(state, each) == 0 then
      lane.time = 0
      lane.epoch = lane.epoch + 1
      forgetTags(each)
    end
  end
end

local function takeTurns(state, me, exchange, results, now)
  local name, lanes = exchange.process, sortedKeys(exchange.lanes)
  for _, lane in ipairs(lanes) do
    local terms = exchange.lanes[lane]
    local known = state.lanes[lane]
    if not known then
      known = { owedFrom = NEVER, finish = state.laneTime, time = 0, epoch = 0 }
      state.lanes[lane] = known
    end
    known.weight, known.guarantee, known.reserve, known.order = terms.weight, terms.guarantee, terms.reserve, terms.order
    if terms.users > 0 and usersOf(state, lane) == 0 then
      known.finish = max(known.finish, state.laneTime)
      known.owedFrom = max(known.owedFrom, now)
    end
  end
  me.users = {}
  for _, lane in ipairs(lanes) do
    if exchange.lanes[lane].users > 0 then me.users[lane] = exchange.lanes[lane].users end
  end
  local before = me.heads
  me.heads = {}
  local asking = {}
  for _, call in ipairs(exchange.candidates) do
    local lane = state.lanes[call.lane]
    if lane and laneKeys[call.lane] then
      local refusal = arrive(call.id, call.quotas, name, now)
      if refusal then results[#results + 1] = refusal
      else
        asking[#asking + 1] = {
          call = call, start = startOf(lane, call),
          since = now - call.waitedMs, chargesTokens = call.chargesTokens, inputTokens = call.inputTokens, inputHeld = call.inputHeld,
          outputTokens = call.outputTokens, path = call.path and sumOf(call.path, now) or nil,
        }
      end
    end
  end
  local turn = setmetatable({
    state = state, me = me, name = name, asking = asking, results = results, now = now, waits = {}, granted = 0,
  }, Turn)
  while turn:move() do end
  register(state, me, name, turn, before, lanes, results, now)
  return turn.wake
end

local function answerOf(state, isUnknown, results, wake, now)
  local levels, users = {}, {}
  for _, name in ipairs(NAMES) do
    local l = state.limits[name]
    if l then
      levels[name] = {
        perMinute = l.perMinute, source = l.source, capacity = capacityOf(l), level = availableOf(l, now),
        ratePerMs = refillOf(l),
      }
    end
  end
  for _, process in pairs(state.processes) do
    for lane, count in pairs(process.users) do users[lane] = (users[lane] or 0) + count end
  end
  local most = mostCalls(state)
  return {
    now = now, isUnknown = isUnknown, results = results, levels = levels, pausedMs = max(0, state.pausedUntil - now),
    concurrency = most < math.huge and most or nil, calls = callsOf(state),
    processes = redis.call('HLEN', KEYS[3]), users = users, wake = wake,
  }
end

local function announcementOf(state, name, wake, now)
  if not wake then return nil end
  local hasListeners = false
  for other, process in pairs(state.processes) do
    if other ~= name and isWaiting(process, now) and next(process.heads) then hasListeners = true end
  end
  if not hasListeners then return nil end
  local at, announced = now + wake.waitMs, state.announced
  local isKnown = announced.process == wake.process and abs(announced.at - at) <= 25
  local isDue = announced.process == wake.process and wake.waitMs == 0 and announced.at <= now
  if isKnown or isDue then return nil end
  state.announced = { process = wake.process, at = at }
  return wake
end

local function applyExchange(state, exchange, isFresh, now)
  local name = exchange.process
  for _, each in ipairs(NAMES) do
    local l = state.limits[each]
    if l and l.at > now + 1000 then l.at = now end
  end
  local me = state.processes[name]
  local isUnknown = not me or me.seq < exchange.acked
  local isLossy = isUnknown and exchange.acked > 0
  local isOurLoss = isLossy and (isFresh or me ~= nil)
  for _, other in ipairs(sortedKeys(state.processes)) do
    if other ~= name and state.processes[other].seenAt < now - LEASE_MS then bury(state, other, now) end
  end
  if not me then
    me = { seenAt = now, seq = 0, calls = 0, inputHeld = 0, variance = 0, users = {}, heads = {}, isLate = false, limits = {} }
    state.processes[name] = me
  end
  me.seenAt, me.seq, me.isLate = now, exchange.seq, false
  if exchange.limits then me.limits = exchange.limits end
  configure(state, now)
  if isLossy then
    local hints = exchange.hints or {}
    for _, each in ipairs(NAMES) do
      local l = state.limits[each]
      if l then
        local most = isOurLoss and 0.5 * capacityOf(l) or capacityOf(l)
        boundBy(l, min(most, hints[each] or most), now)
      end
    end
  end
  settle(state, me, exchange, now)
  for _, event in ipairs(exchange.events) do
    if event.type ~= 'corrected' or laneKeys[event.lane] then happened(state, event, now) end
  end
  for _, ask in ipairs(exchange.spent) do commit(quotaOf(ask.key), ask, false, name, now) end
  for _, each in ipairs(exchange.quotas) do changeQuota(quotaOf(each.key), each, name) end
  local results = {}
  for _, each in ipairs(exchange.reserve) do
    results[#results + 1] = arrive(each.id, each.quotas, name, now)
      or { id = each.id, type = 'waits', reason = 'queue', lead = 0 }
  end
  local wake = takeTurns(state, me, exchange, results, now)
  local answer = answerOf(state, isUnknown, results, wake, now)
  return answer, announcementOf(state, name, wake, now)
end
`;

/** Reads the state, applies the exchange once, writes what has changed. */
export const MAIN = `
local exchange = cjson.decode(ARGV[1])
local names = cjson.decode(ARGV[2])
for at, lane in ipairs(names.lanes) do laneKeys[lane] = KEYS[3 + at] end
for at, key in ipairs(names.quotas) do quotaKeys[key] = KEYS[3 + #names.lanes + at] end

local packed = redis.call('GET', KEYS[1])
local state = packed and cmsgpack.unpack(packed) or {
  limits = {}, configured = {}, pausedUntil = NEVER, culprits = {}, refusedAt = NEVER, isRamp = false,
  slowedAt = NEVER, learnedCalls = 0, callsBefore = 0, decreasedAt = NEVER, processes = {}, lanes = {},
  laneTime = 0, announced = { process = '', at = 0 },
}
local me = state.processes[exchange.process]
if me and me.seq == exchange.seq then
  local last = redis.call('HGET', KEYS[2], 'r:' .. exchange.process)
  if last then return last end
end

redis.call('HSET', KEYS[3], exchange.process, string.format('%.3f', now))
local answer, wake = applyExchange(state, exchange, not packed, now)
local text = cjson.encode(answer)
sideDirty['r:' .. exchange.process] = nil
redis.call('HSET', KEYS[2], 'r:' .. exchange.process, text)
for field in pairs(sideDirty) do
  local values = side[field]
  if values then redis.call('HSET', KEYS[2], field, cmsgpack.pack(values))
  else redis.call('HDEL', KEYS[2], field) end
end
redis.call('SET', KEYS[1], cmsgpack.pack(state), 'PX', 86400000)
redis.call('PEXPIRE', KEYS[2], 86400000)
redis.call('PEXPIRE', KEYS[3], 86400000)
for key, quota in pairs(quotas) do
  redis.call('SET', quotaKeys[key], cmsgpack.pack(quota), 'PX', string.format('%.0f', keptMs(quota, now)))
end
if wake then redis.call('PUBLISH', ARGV[3], cjson.encode(wake)) end
return text
`;
