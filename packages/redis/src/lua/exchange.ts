/** packages/core/src/stores/ledger/exchange.ts, in Lua, and what reads and writes the keys. */
export const EXCHANGE = `
local function settle(state, me, exchange, now)
  for _, name in ipairs(NAMES) do
    if state.limits[name] then charge(state.limits[name], exchange.charges[name], now) end
  end
  if exchange.charges.requests > 0 then sentOf(state.ramp, exchange.charges.requests, now) end
  if state.limits.inputTokens then hold(state.limits.inputTokens, exchange.inputHeld - me.inputHeld, now) end
  me.inputHeld, me.calls, me.variance = exchange.inputHeld, exchange.calls, exchange.variance
  local path = exchange.path
  isPathTold = path ~= nil
  if path then
    local isSome, wasSome = isAhead(path), isAhead(me)
    me.use, me.spread, me.most = path.use, path.spread, path.most
    -- Of a process with nothing under way there is nothing to keep.
    if isSome then written['v:' .. exchange.process] = struct.pack('<d', now) .. path.packed
    elseif wasSome then written['v:' .. exchange.process] = false end
  end
  addUp(state)
end

local function register(state, me, turn, before, now)
  local left, results = {}, turn.results
  for _, asking in ipairs(turn.asking) do
    local call, start = asking.call, asking.start
    left[call.lane] = true
    local lane, short = state.lanes[call.lane], turn.waits[call.id]
    results[#results + 1] = {
      id = call.id, type = 'waits', reason = short and short.reason or 'queue', lead = start - lane.time,
      epoch = lane.epoch, at = start, waitMs = short and short.waitMs ~= UNKNOWN_WAIT and short.waitMs or nil,
    }
    local first = me.heads[call.lane]
    if not first or start < first.start or (start == first.start and asking.since < first.since) then
      me.heads[call.lane] = {
        id = call.id, start = start, since = asking.since, cost = call.cost,
        chargesTokens = call.chargesTokens, inputTokens = call.inputTokens, inputHeld = call.inputHeld,
        outputTokens = call.outputTokens, hasPath = call.path ~= nil, fitsSince = 0,
      }
      if call.path then written['h:' .. turn.name .. ':' .. call.lane] = call.path.packed end
    end
  end
  for lane in pairs(before) do
    if not me.heads[lane] then written['h:' .. turn.name .. ':' .. lane] = false end
  end
  for lane, users in pairs(me.users) do
    if not left[lane] and users <= turn.granted then me.users[lane] = 0 end
  end
  if knowsNoLimit(state) then return end
  for name in pairs(laneKeys) do
    local lane = state.lanes[name]
    if lane.time ~= 0 and usersOf(state, name) == 0 then
      lane.time = 0
      lane.epoch = lane.epoch + 1
      forgetAllTags(lane)
    end
  end
end

local function takeTurns(state, me, exchange, results, now)
  local name = exchange.process
  for _, terms in ipairs(exchange.lanes) do
    local known = state.lanes[terms.name]
    if not known then
      known = { name = terms.name, owedFrom = NEVER, dueFrom = NEVER, finish = state.laneTime, time = 0, epoch = 0, isTagged = false }
      state.lanes[terms.name] = known
    end
    known.weight, known.guarantee, known.reserve, known.order = terms.weight, terms.guarantee, terms.reserve, terms.order
    if terms.users > 0 and not isInUse(state, terms.name) then
      known.finish = max(known.finish, state.laneTime)
      known.owedFrom = max(known.owedFrom, now)
      known.dueFrom = max(known.dueFrom, now)
    end
  end
  me.users = {}
  for _, terms in ipairs(exchange.lanes) do
    if terms.users > 0 then me.users[terms.name] = terms.users end
  end
  local before = me.heads
  me.heads = {}
  local asking = {}
  for _, call in ipairs(exchange.candidates) do
    if call.lane then
      local refusal = arrive(call.id, call.quotas, name, now)
      if refusal then results[#results + 1] = refusal
      else
        asking[#asking + 1] = {
          call = call, lane = call.lane, process = name, start = startOf(state.lanes[call.lane], call),
          since = now - call.waitedMs,
        }
      end
    end
  end
  local turn = setmetatable({
    state = state, me = me, name = name, asking = asking, results = results, now = now, waits = {}, granted = 0,
  }, Turn)
  while turn:move() do end
  addGrants(name, now)
  register(state, me, turn, before, now)
  return turn.wake
end

local function answerOf(state, isUnknown, results, wake, now)
  local levels, users = {}, {}
  for _, name in ipairs(NAMES) do
    local l = state.limits[name]
    if l then
      levels[#levels + 1] = {
        name = name, perMinute = l.perMinute, source = l.source, capacity = capacityOf(l), level = availableOf(l, now),
        ratePerMs = refillOf(l),
      }
    end
  end
  for _, process in pairs(state.processes) do
    for lane, count in pairs(process.users) do
      if count > 0 then users[lane] = (users[lane] or 0) + count end
    end
  end
  local most = mostCalls(state)
  return {
    now = now, isUnknown = isUnknown, results = results, levels = levels, pausedMs = max(0, state.pausedUntil - now),
    concurrency = most < math.huge and most or nil,
    pacePerMs = state.ramp.pace > 0 and state.ramp.pace or nil, calls = totals.calls,
    processes = redis.call('HLEN', KEYS[3]), users = users, wake = wake,
  }
end

local function announcementOf(state, name, wake, now)
  if not wake then return nil end
  local at, announced = now + wake.waitMs, state.announced
  local isKnown = announced.process == wake.process and abs(announced.at - at) <= 25
  local isDue = announced.process == wake.process and wake.waitMs == 0 and announced.at <= now
  if isKnown or isDue then return nil end
  state.announced = { process = wake.process, at = at }
  for other, process in pairs(state.processes) do
    if other ~= name and isWaiting(process, now) and next(process.heads) then return wake end
  end
  return nil
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
  local dead = {}
  for _, other in ipairs(state.order) do
    local process = state.processes[other]
    if other ~= name and process.seenAt < now - QUIET_MS then
      if process.seenAt < now - LEASE_MS then dead[#dead + 1] = { name = other }
      elseif isGone(other, process.isWatched) then
        dead[#dead + 1] = { name = other, endedBy = process.seenAt + HEARTBEAT_MS }
      end
    end
  end
  for _, other in ipairs(dead) do bury(state, other.name, now, other.endedBy) end
  local areOthers = #dead > 0 or not me or exchange.limits ~= nil
  if not me then
    me = freshProcess()
    state.processes[name] = me
    state.order[#state.order + 1] = name
  end
  me.seenAt, me.seq, me.isLate, me.isWatched = now, exchange.seq, false, ARGV[3] ~= ''
  if exchange.limits then me.limits = exchange.limits end
  configure(state, areOthers, now)
  if isLossy then
    for _, each in ipairs(NAMES) do
      local l = state.limits[each]
      if l then
        local most = isOurLoss and 0.5 * capacityOf(l) or capacityOf(l)
        boundBy(l, min(most, given(exchange.hints[each]) or most), now)
      end
    end
  end
  settle(state, me, exchange, now)
  for _, event in ipairs(exchange.events) do happened(state, event, now) end
  for _, ask in ipairs(exchange.spent) do commit(quotaOf(ask.key), ask, false, name, now) end
  for _, each in ipairs(exchange.quotas) do changeQuota(quotaOf(each.key), each, name, now) end
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
local exchange = readExchange()
local name = exchange.process
local packed = redis.call('GET', KEYS[1])
local state = packed and readState(packed) or freshState()
local me = state.processes[name]
if me and me.seq == exchange.seq then
  local last = redis.call('HGET', KEYS[2], 'r:' .. name)
  if last then return last end
elseif not me then
  local last = redis.call('GET', lastOf(name))
  if last and struct.unpack('<d', last) == exchange.seq then return last:sub(9) end
end

redis.call('HSET', KEYS[3], name, string.format('%.3f', now))
local answer, wake = applyExchange(state, exchange, not packed, now)
local bytes = writeAnswer(answer)
written['r:' .. name] = bytes
for lane in pairs(laneKeys) do writeTags(state.lanes[lane]) end
writeBooks()
if now > state.keptUntil - KEPT_MS / 2 or now < state.keptUntil - 2 * KEPT_MS then
  redis.call('PEXPIRE', KEYS[2], KEPT_MS)
  redis.call('PEXPIRE', KEYS[3], KEPT_MS)
  state.keptUntil = now + KEPT_MS
end
redis.call('SET', KEYS[1], writeState(state), 'PX', KEPT_MS)
for key, quota in pairs(quotas) do
  redis.call('SET', key, cmsgpack.pack(quota), 'PX', string.format('%.0f', keptMs(quota, now)))
end
if wake then redis.call('PUBLISH', ARGV[2], cjson.encode(wake)) end
return bytes
`;
