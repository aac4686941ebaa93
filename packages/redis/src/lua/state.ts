/**
 * The state of a bucket, packed: field after field, so that each limit, lane and process is read and written with one call. What
 * is not known is not a number. Names come once; what belongs to a lane says which it is, counted from 1.
 */
export const STATE = `
local HEADER = '<ddddddc104c40dHc0HHHBB'
local LIMIT = '<BB${'d'.repeat(19)}'
local LANE = '<${'d'.repeat(9)}BHc0'
local PROCESS = '<Hc0${'d'.repeat(8)}BBc40HH'
local HEAD = '<H${'d'.repeat(8)}BB'
local SOURCES = { 'configured', 'learned', 'probe' }
local CONFIGURED = { 'requests', 'inputTokens', 'outputTokens', 'burst', 'concurrency' }
local NO_LIMITS = struct.pack('<ddddd', LEFT_OUT, LEFT_OUT, LEFT_OUT, LEFT_OUT, LEFT_OUT)

local function namedLimits(packed)
  local named, numbers = {}, { struct.unpack('<ddddd', packed) }
  for at, name in ipairs(CONFIGURED) do named[name] = given(numbers[at]) end
  return named
end

local function freshState()
  return {
    limits = {}, configured = {}, pausedUntil = NEVER, culprits = {}, ramp = openRamp(), learnedCalls = 0, callsBefore = 0, decreasedAt = NEVER, processes = {}, order = {}, lanes = {},
    laneTime = 0, saved = nil, announced = { process = '', at = 0 }, keptUntil = NEVER,
  }
end
local function freshProcess()
  return {
    seenAt = 0, seq = 0, calls = 0, inputHeld = 0, variance = 0, use = 0, spread = 0, most = 0, isLate = false,
    limits = NO_LIMITS, users = NONE, heads = NONE,
  }
end

-- Each gives what the fields make, and where the next begin.
local function limitFrom(name, source, perMinute, burst, share, level, at, held, drift, observedAt, loweredAt, blamedAt,
  pressedAt, deeperAt, growsFrom, retryMs, refusedAt, shift, bin, low, high, to)
  return {
    name = NAMES[name], perMinute = perMinute, source = SOURCES[source], burst = burst, share = share, level = level, at = at,
    held = held, drift = drift, observedAt = observedAt, loweredAt = loweredAt, blamedAt = blamedAt, pressedAt = pressedAt,
    deeperAt = deeperAt, growsFrom = growsFrom, retryMs = retryMs, refusedAt = refusedAt, shift = shift, bin = bin, low = low,
    high = high,
  }, to
end
local function laneFrom(weight, guarantee, reserve, order, owedFrom, dueFrom, finish, time, epoch, isTagged, name, to)
  return {
    name = name, weight = weight, guarantee = guarantee, reserve = reserve, order = order, owedFrom = owedFrom,
    dueFrom = dueFrom, finish = finish, time = time, epoch = epoch, isTagged = isTagged == 1,
  }, to
end
local function processFrom(name, seenAt, seq, calls, inputHeld, variance, use, spread, most, isLate, isWatched,
  limits, users, heads, to)
  return {
    name = name, seenAt = seenAt, seq = seq, calls = calls, inputHeld = inputHeld, variance = variance, use = use,
    spread = spread, most = most, isLate = isLate == 1, isWatched = isWatched == 1, limits = limits, users = NONE, heads = NONE,
  }, users, heads, to
end
local function headFrom(lane, id, start, since, cost, inputTokens, inputHeld, outputTokens, fitsSince, charges, hasPath, to)
  return {
    id = id, start = start, since = since, cost = cost, inputTokens = inputTokens, inputHeld = inputHeld,
    outputTokens = outputTokens, fitsSince = fitsSince, chargesTokens = charges == 1, hasPath = hasPath == 1,
  }, lane, to
end

local function readState(packed)
  local state, at = freshState()
  local limits, lanes, processes, culprits, ramp, configured, hasSaved
  state.pausedUntil, state.learnedCalls, state.callsBefore, state.decreasedAt,
    state.laneTime, state.keptUntil, ramp, configured, state.announced.at, state.announced.process,
    limits, lanes, processes, culprits, hasSaved, at = struct.unpack(HEADER, packed)
  state.ramp, state.configured = unpackRamp(ramp), namedLimits(configured)
  if culprits > 0 then
    for bit, name in ipairs(NAMES) do
      if floor(culprits / 2 ^ bit) % 2 == 1 then state.culprits[#state.culprits + 1] = name end
    end
  end
  if hasSaved == 1 then
    local saved = {}
    saved.id, saved.since, saved.base, saved.process, at = struct.unpack('<dddHc0', packed, at)
    state.saved = saved
  end
  for _ = 1, limits do
    local l
    l, at = limitFrom(struct.unpack(LIMIT, packed, at))
    state.limits[l.name] = l
  end
  local names = {}
  for n = 1, lanes do
    local lane
    lane, at = laneFrom(struct.unpack(LANE, packed, at))
    names[n] = lane.name
    state.lanes[lane.name] = lane
  end
  for n = 1, processes do
    local process, users, heads
    process, users, heads, at = processFrom(struct.unpack(PROCESS, packed, at))
    state.processes[process.name] = process
    state.order[n] = process.name
    if users > 0 then process.users = {} end
    for _ = 1, users do
      local lane, count
      lane, count, at = struct.unpack('<Hd', packed, at)
      process.users[names[lane]] = count
    end
    if heads > 0 then process.heads = {} end
    for _ = 1, heads do
      local head, lane
      head, lane, at = headFrom(struct.unpack(HEAD, packed, at))
      process.heads[names[lane]] = head
    end
  end
  return state
end

local function bitOf(flag) return flag and 1 or 0 end
local function writeState(state)
  local parts, limits, culprits, configured = { '' }, 0, 0, {}
  local function add(...) parts[#parts + 1] = struct.pack(...) end
  for bit, name in ipairs(NAMES) do
    local l = state.limits[name]
    if l then
      limits = limits + 1
      add(LIMIT, bit, SOURCE_AT[l.source], l.perMinute, l.burst, l.share, l.level, l.at, l.held, l.drift, l.observedAt,
        l.loweredAt, l.blamedAt, l.pressedAt, l.deeperAt, l.growsFrom, l.retryMs, l.refusedAt, l.shift, l.bin, l.low, l.high)
    end
    for _, culprit in ipairs(state.culprits) do
      if culprit == name then culprits = culprits + 2 ^ bit end
    end
  end
  local lanes, placeOf = 0, {}
  for name, lane in pairs(state.lanes) do
    lanes = lanes + 1
    placeOf[name] = lanes
    add(LANE, lane.weight, lane.guarantee, lane.reserve, lane.order, lane.owedFrom, lane.dueFrom, lane.finish, lane.time, lane.epoch,
      bitOf(lane.isTagged), #name, name)
  end
  for _, name in ipairs(state.order) do
    local p, users, heads = state.processes[name], 0, 0
    for _ in pairs(p.users) do users = users + 1 end
    for _ in pairs(p.heads) do heads = heads + 1 end
    add(PROCESS, #name, name, p.seenAt, p.seq, p.calls, p.inputHeld, p.variance, p.use, p.spread, p.most, bitOf(p.isLate),
      bitOf(p.isWatched), p.limits, users, heads)
    for lane, count in pairs(p.users) do add('<Hd', placeOf[lane], count) end
    for lane, head in pairs(p.heads) do
      add(HEAD, placeOf[lane], head.id, head.start, head.since, head.cost, head.inputTokens, head.inputHeld,
        head.outputTokens, head.fitsSince, bitOf(head.chargesTokens), bitOf(head.hasPath))
    end
  end
  for at, name in ipairs(CONFIGURED) do configured[at] = state.configured[name] or LEFT_OUT end
  local announced, saved = state.announced, state.saved
  parts[1] = struct.pack(HEADER, state.pausedUntil, state.learnedCalls, state.callsBefore, state.decreasedAt, state.laneTime, state.keptUntil,
    packRamp(state.ramp), struct.pack('<ddddd', unpack(configured)), announced.at, #announced.process, announced.process,
    limits, lanes, #state.order, culprits, bitOf(saved))
    .. (saved and struct.pack('<dddHc0', saved.id, saved.since, saved.base, #saved.process, saved.process) or '')
  return table.concat(parts)
end
`;
