/** packages/core/src/stores/ledger/upstream.ts, in Lua. */
export const UPSTREAM = `
local EMPTY = { requests = 0, inputTokens = 1000, outputTokens = 500 }
local REASON = {
  requests = 'requests_per_minute',
  inputTokens = 'input_tokens_per_minute',
  outputTokens = 'output_tokens_per_minute',
}
local UNKNOWN_WAIT = -1

local function holdAll(state, l, now)
  for _, process in pairs(state.processes) do hold(l, process.inputHeld, now) end
end

-- What the processes are configured with has changed, and is looked through.
local function configure(state, areOthers, now)
  local before = state.configured
  if areOthers then
    local least = {}
    for _, process in pairs(state.processes) do
      for name, value in pairs(namedLimits(process.limits)) do least[name] = min(least[name] or math.huge, value) end
    end
    state.configured = least
  end
  local least = state.configured
  local burst = least.burst or 0
  local isOtherBurst = burst ~= (before.burst or 0)
  local count = 0
  for _, name in ipairs(NAMES) do
    local perMinute, known = least[name], state.limits[name]
    if not known or known.source == 'probe' then
      if perMinute then
        state.limits[name] = openLimit(name, perMinute, 'configured', burst, now)
        if name == 'inputTokens' then holdAll(state, state.limits[name], now) end
      end
    elseif (perMinute and perMinute ~= before[name]) or isOtherBurst then
      resize(known, perMinute or known.perMinute, burst, now)
    end
    if state.limits[name] then count = count + 1 end
  end
  local requests = state.limits.requests
  if count == 0 then state.limits.requests = openLimit('requests', 60, 'probe', 0, now)
  elseif count > 1 and requests and requests.source == 'probe' then state.limits.requests = nil end
end

local function knowsNoLimit(state)
  return state.limits.requests ~= nil and state.limits.requests.source == 'probe'
end

-- Of all processes, added up once and kept up to date: calls, how unsure their answers are, and the last points of their paths.
local totals
local function addUp(state)
  local calls, variance, use, spread, most = 0, 0, 0, 0, 0
  for _, process in pairs(state.processes) do
    calls, variance = calls + process.calls, variance + process.variance
    use, spread, most = use + process.use, spread + process.spread, most + process.most
  end
  totals = { calls = calls, variance = variance, use = use, spread = spread, most = most }
end
local function mostCalls(state)
  local learned = state.learnedCalls > 0 and floor(state.learnedCalls) or math.huge
  return min(state.configured.concurrency or math.huge, learned)
end

local function keptSlots(limit, reserveShare)
  if reserveShare <= 0 or limit == math.huge then return 0 end
  return min(limit - 1, math.ceil(limit * reserveShare - 1e-9))
end

-- Paths that were granted by this exchange, and how often: they are added up where somebody wants to know, or at the end.
local grants = {}
local function addGrants(name, now)
  if not next(grants) then return end
  local sum = unpackSum(packedAt('v:' .. name)) or emptySum(now)
  for path, times in pairs(grants) do addSum(sum, numbersOf(path, now), times) end
  written['v:' .. name] = packSum(sum)
  grants = {}
end
-- Whether a process, or a path, has anything ahead.
local function isAhead(of) return of.use > 0 or of.spread > 0 or of.most > 0 end
-- What the calls of all processes are going to produce. Where the process has told its path, what is granted begins with it;
-- where not, it is read off at the points of the path of before, and all is made anew.
local ahead
local isPathTold = false
local function pathsAhead(state, name, now)
  if ahead then return ahead end
  addGrants(name, now)
  ahead = emptySum(now)
  local fields = {}
  for _, each in ipairs(state.order) do
    local field = 'v:' .. each
    if isAhead(state.processes[each]) and written[field] == nil then fields[#fields + 1] = field end
  end
  if #fields > 0 then fetch(fields) end
  for _, each in ipairs(state.order) do
    local own = isAhead(state.processes[each]) and unpackSum(packedAt('v:' .. each))
    if own then addSum(ahead, own, 1) end
  end
  return ahead
end

local function amountOf(asked, name)
  if name == 'requests' then return 1 end
  if not asked.chargesTokens then return 0 end
  return name == 'inputTokens' and asked.inputTokens + asked.inputHeld or asked.outputTokens
end
local function outputWait(state, name, l, path, reserved, now)
  local unsure = 1.5 * sqrt(totals.variance)
  local level = availableOf(l, now) - reserved - behindOf(l) - visibleOf(l) - unsure
  local full = capacityOf(l) - reserved - visibleOf(l) - unsure
  if totals.calls == 0 and level + behindOf(l) >= full - 1 then return 0 end
  if level >= totals.most + path.most then return 0 end
  if level >= totals.use + path.use + 1.5 * sqrt(totals.spread + path.spread) then return 0 end
  local sum = pathsAhead(state, name, now)
  local missing = -lowestAhead(sum, numbersOf(path, now), level, full, refillOf(l))
  if missing <= 0 then return 0 end
  grow(l, now)
  return max(100, missing / max(1e-9, refillOf(l)))
end
local function requestsPerMs(state)
  local requests = state.limits.requests
  return requests and requests.source ~= 'probe' and requests.perMinute / 60000 or 0
end
local function shortageOf(state, name, asked, reserveShare, saved, now)
  if now < state.pausedUntil then return { reason = 'upstream_paused', waitMs = state.pausedUntil - now } end
  local slots = mostCalls(state)
  if totals.calls >= slots - keptSlots(slots, reserveShare) then return { reason = 'concurrency', waitMs = UNKNOWN_WAIT } end
  local rampMs = rampWait(state.ramp, requestsPerMs(state), now)
  local worst = rampMs > 0 and { reason = 'upstream_paused', waitMs = rampMs } or nil
  for _, each in ipairs(NAMES) do
    local l = state.limits[each]
    if l then
      local reserved = capacityOf(l) * reserveShare + (each == 'inputTokens' and saved or 0)
      local waitMs
      if each == 'outputTokens' and asked.path then
        waitMs = outputWait(state, name, l, asked.path, reserved, now)
      else
        local amount = amountOf(asked, each)
        waitMs = amount <= 0 and 0 or waitForAmount(l, amount, reserved, now)
      end
      if waitMs > 0 and waitMs > (worst and worst.waitMs or 0) then
        worst = { reason = REASON[each], waitMs = waitMs }
      end
    end
  end
  return worst
end

local function admit(state, asked, process, now)
  local limits, path = state.limits, asked.path
  if limits.requests then sendOff(limits.requests, 1, 0, now) end
  process.calls, totals.calls = process.calls + 1, totals.calls + 1
  sentOf(state.ramp, 1, now)
  if not asked.chargesTokens then return end
  process.inputHeld = process.inputHeld + asked.inputHeld
  if limits.inputTokens then sendOff(limits.inputTokens, asked.inputTokens, asked.inputHeld, now) end
  if not path then
    if limits.outputTokens then sendOff(limits.outputTokens, asked.outputTokens, 0, now) end
    return
  end
  process.use, totals.use = process.use + path.use, totals.use + path.use
  process.spread, totals.spread = process.spread + path.spread, totals.spread + path.spread
  process.most, totals.most = process.most + path.most, totals.most + path.most
  grants[path] = (grants[path] or 0) + 1
  if not isPathTold then ahead = nil
  elseif ahead then addSum(ahead, numbersOf(path, now), 1) end
end

local function bury(state, name, now, endedBy)
  local process = state.processes[name]
  local input, output = state.limits.inputTokens, state.limits.outputTokens
  if input and process.inputHeld > 0 then
    charge(input, process.inputHeld, now)
    hold(input, -process.inputHeld, now)
  end
  local own = endedBy and unpackSum(packedAt('v:' .. name))
  local used = process.use
  if own then
    local sum = emptySum(endedBy)
    addSum(sum, own, 1)
    used = sum.use0
  end
  if output and used > 0 then charge(output, used, now) end
  written['v:' .. name] = false
  local last = packedAt('r:' .. name)
  if last then redis.call('SET', lastOf(name), struct.pack('<d', process.seq) .. last, 'PX', AGAIN_MS) end
  written['r:' .. name] = false
  for lane in pairs(process.heads) do written['h:' .. name .. ':' .. lane] = false end
  forgetProcess(name, now, endedBy ~= nil)
  state.processes[name] = nil
  for at, each in ipairs(state.order) do
    if each == name then table.remove(state.order, at) end
  end
end

local function pause(state, till, now)
  state.pausedUntil = max(state.pausedUntil, till)
  for _, name in ipairs(state.culprits) do
    if state.limits[name] then emptyUntil(state.limits[name], till, now) end
  end
  state.culprits = {}
end
local function overloaded(state, startedAt, now)
  if startedAt < state.decreasedAt or now - state.decreasedAt < 10000 then return end
  local calls = max(1, totals.calls)
  state.decreasedAt = now
  if state.learnedCalls == 0 then state.callsBefore = calls end
  state.learnedCalls = max(1, 0.7 * (state.learnedCalls > 0 and min(state.learnedCalls, calls) or calls))
end
local function ended(state, startedAt)
  if state.learnedCalls == 0 or startedAt < state.decreasedAt then return end
  if totals.calls + 1 < state.learnedCalls / 2 then return end
  state.learnedCalls = state.learnedCalls + 1 / state.learnedCalls
  if state.learnedCalls > 1.25 * state.callsBefore then state.learnedCalls = 0 end
end
local function refuse(state, headroom, sentAt, now)
  local culprits, isTold = {}, false
  for _, name in ipairs(NAMES) do
    local shown = headroom[name]
    if shown then
      isTold = true
      if shown.remaining <= EMPTY[name] then culprits[#culprits + 1] = name end
    end
  end
  if not isTold then return end
  state.culprits = culprits
  for _, name in ipairs(culprits) do
    if state.limits[name] then refused(state.limits[name], sentAt, now) end
  end
end
local function merge(state, event, now)
  local sentAt = now - event.sentAgo
  if not event.isAnswer then refuse(state, event.headroom, sentAt, now) end
  for _, name in ipairs(NAMES) do
    local shown, l = event.headroom[name], state.limits[name]
    if not shown then
      if event.isAnswer and l and l.source == 'probe' then state.limits[name] = nil end
    else
      local perMinute = min(shown.limit, state.configured[name] or math.huge)
      if not l or l.source == 'probe' then
        l = openLimit(name, perMinute, 'learned', state.configured.burst or 0, now)
        state.limits[name] = l
        if name == 'requests' then charge(l, totals.calls, now) end
        if name == 'inputTokens' then holdAll(state, l, now) end
      elseif l.perMinute ~= perMinute then
        resizeAsTold(l, perMinute, now)
      end
      local unsure = name == 'outputTokens' and 2 * sqrt(totals.variance) or 0
      observe(l, shown.remaining, sentAt, unsure, shown.limit <= perMinute, now)
    end
  end
end
local function happened(state, event, now)
  local kind = event.type
  if kind == 'headers' then merge(state, event, now)
  elseif kind == 'pause' then pause(state, now + event.ms, now)
  elseif kind == 'ramp' then refusedFor(state.ramp, now - event.sentAgo, now + event.ms, requestsPerMs(state), now)
  elseif kind == 'endPause' then
    state.pausedUntil = NEVER
    endRamp(state.ramp)
  elseif kind == 'overloaded' then overloaded(state, now - event.startedAgo, now)
  elseif kind == 'ended' then ended(state, now - event.startedAgo)
  elseif kind == 'corrected' then
    local lane = state.lanes[event.lane]
    if not lane then return end
    if lane.guarantee > 0 then lane.dueFrom = lane.dueFrom + event.delta / lane.guarantee end
    if not event.isOwed then lane.finish = lane.finish + event.delta / lane.weight
    elseif lane.guarantee > 0 then lane.owedFrom = lane.owedFrom + event.delta / lane.guarantee end
    if event.epoch ~= lane.epoch then return end
    setTag(lane, event.user, (tagOf(lane, event.user) or lane.time) + event.delta)
  end
end
`;
