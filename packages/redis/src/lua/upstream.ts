/** packages/core/src/stores/ledger/upstream.ts, in Lua. */
export const UPSTREAM = `
local EMPTY = { requests = 0, inputTokens = 1000, outputTokens = 500 }
local REASON = {
  requests = 'requests_per_minute',
  inputTokens = 'input_tokens_per_minute',
  outputTokens = 'output_tokens_per_minute',
}
local UNKNOWN_WAIT = -1

local function configure(state, now)
  local least = {}
  for _, process in pairs(state.processes) do
    for name, value in pairs(process.limits) do least[name] = min(least[name] or math.huge, value) end
  end
  local burst = least.burst or 0
  local isOtherBurst = burst ~= (state.configured.burst or 0)
  local count = 0
  for _, name in ipairs(NAMES) do
    local perMinute, known = least[name], state.limits[name]
    if not known or known.source == 'probe' then
      if perMinute then state.limits[name] = openLimit(name, perMinute, 'configured', burst, now) end
    elseif (perMinute and perMinute ~= state.configured[name]) or isOtherBurst then
      resize(known, perMinute or known.perMinute, burst, now)
    end
    if state.limits[name] then count = count + 1 end
  end
  local requests = state.limits.requests
  if count == 0 then state.limits.requests = openLimit('requests', 60, 'probe', 0, now)
  elseif count > 1 and requests and requests.source == 'probe' then state.limits.requests = nil end
  state.configured = least
end

local function callsOf(state)
  local calls = 0
  for _, process in pairs(state.processes) do calls = calls + process.calls end
  return calls
end
local function mostCalls(state)
  local learned = state.learnedCalls > 0 and floor(state.learnedCalls) or math.huge
  return min(state.configured.concurrency or math.huge, learned)
end
local function varianceOf(state)
  local variance = 0
  for _, process in pairs(state.processes) do variance = variance + process.variance end
  return variance
end
local function pathSum(state, now)
  local known = sideGet('s')
  if known and now - known[1] < 200 and now >= known[1] then return known end
  local sum = emptySum(now)
  for _, name in ipairs(sortedKeys(state.processes)) do
    local own = sideGet('v:' .. name)
    if own then addSum(sum, own) end
  end
  sideSet('s', sum)
  return sum
end

local function amountOf(asked, name)
  if name == 'requests' then return 1 end
  if not asked.chargesTokens then return 0 end
  return name == 'inputTokens' and asked.inputTokens + asked.inputHeld or asked.outputTokens
end
local function outputWait(state, l, path, reserved, calls, now)
  local unsure = 1.5 * sqrt(varianceOf(state))
  local level = availableOf(l, now) - reserved - behindOf(l) - visibleOf(l) - unsure
  local capacity = capacityOf(l) - reserved - visibleOf(l) - unsure
  if calls == 0 and level >= capacity - 1 then return 0 end
  local sum = pathSum(state, now)
  if level >= sum[3 + 3 * POINTS] + path[3 + 3 * POINTS] then return 0 end
  local missing = -lowestAhead(sum, path, level, capacity, refillOf(l), now)
  if missing <= 0 then return 0 end
  grow(l, now)
  return max(100, missing / max(1e-9, refillOf(l)))
end
local function shortageOf(state, asked, reserveShare, saved, now)
  if now < state.pausedUntil then return { reason = 'upstream_paused', waitMs = state.pausedUntil - now } end
  local calls = callsOf(state)
  if calls >= mostCalls(state) then return { reason = 'concurrency', waitMs = UNKNOWN_WAIT } end
  local worst
  for _, name in ipairs(NAMES) do
    local l = state.limits[name]
    if l then
      local reserved = capacityOf(l) * reserveShare + (name == 'inputTokens' and saved or 0)
      local waitMs
      if name == 'outputTokens' and asked.path then
        waitMs = outputWait(state, l, asked.path, reserved, calls, now)
      else
        local amount = amountOf(asked, name)
        waitMs = amount <= 0 and 0 or waitForAmount(l, amount, reserved, now)
      end
      if waitMs > 0 and waitMs > (worst and worst.waitMs or 0) then
        worst = { reason = REASON[name], waitMs = waitMs }
      end
    end
  end
  return worst
end

local function admit(state, asked, name, process, now)
  local limits = state.limits
  if limits.requests then sendOff(limits.requests, 1, 0, now) end
  process.calls = process.calls + 1
  if not asked.chargesTokens then return end
  process.inputHeld = process.inputHeld + asked.inputHeld
  if limits.inputTokens then sendOff(limits.inputTokens, asked.inputTokens, asked.inputHeld, now) end
  if not asked.path then
    if limits.outputTokens then sendOff(limits.outputTokens, asked.outputTokens, 0, now) end
    return
  end
  local sum = pathSum(state, now)
  addSum(sum, asked.path)
  sideSet('s', sum)
  local mine = sideGet('v:' .. name) or emptySum(now)
  addSum(mine, asked.path)
  sideSet('v:' .. name, mine)
end

local function bury(state, name, now)
  local process = state.processes[name]
  local input, output = state.limits.inputTokens, state.limits.outputTokens
  if input and process.inputHeld > 0 then
    charge(input, process.inputHeld, now)
    hold(input, -process.inputHeld, now)
  end
  local own = sideGet('v:' .. name)
  if own and output and own[3 + POINTS] > 0 then charge(output, own[3 + POINTS], now) end
  sideDelete('v:' .. name)
  sideDelete('r:' .. name)
  for lane in pairs(process.heads) do sideDelete('h:' .. name .. ':' .. lane) end
  forgetProcess(name, now)
  sideDelete('s')
  state.processes[name] = nil
end

local function pause(state, till, now)
  state.pausedUntil = max(state.pausedUntil, till)
  for _, name in ipairs(state.culprits) do
    if state.limits[name] then emptyUntil(state.limits[name], till, now) end
  end
  state.culprits = {}
  local isRamp = state.isRamp and till - state.refusedAt >= 500
  state.isRamp = false
  if not isRamp then return end
  state.slowedAt = till
  if state.limits.requests then slow(state.limits.requests, till, now) end
end
local function overloaded(state, startedAt, now)
  if startedAt < state.decreasedAt or now - state.decreasedAt < 10000 then return end
  local calls = max(1, callsOf(state))
  state.decreasedAt = now
  if state.learnedCalls == 0 then state.callsBefore = calls end
  state.learnedCalls = max(1, 0.7 * (state.learnedCalls > 0 and min(state.learnedCalls, calls) or calls))
end
local function ended(state, startedAt)
  if state.learnedCalls == 0 or startedAt < state.decreasedAt then return end
  if callsOf(state) + 1 < state.learnedCalls / 2 then return end
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
  state.refusedAt = now
  for _, name in ipairs(culprits) do
    if state.limits[name] then refused(state.limits[name], sentAt, now) end
  end
  local isRamp = sentAt > state.slowedAt
  for _, name in ipairs(NAMES) do
    local l, shown = state.limits[name], headroom[name]
    if l and not (shown and shown.remaining > capacityOf(l) / 2) then isRamp = false end
  end
  state.isRamp = isRamp
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
        if name == 'requests' then charge(l, callsOf(state), now) end
        if name == 'inputTokens' then
          for _, process in ipairs(sortedKeys(state.processes)) do
            hold(l, state.processes[process].inputHeld, now)
          end
        end
      elseif l.perMinute ~= perMinute then
        resize(l, perMinute, l.burst, now)
      end
      local unsure = name == 'outputTokens' and 2 * sqrt(varianceOf(state)) or 0
      observe(l, shown.remaining, sentAt, unsure, shown.limit <= perMinute, now)
    end
  end
end
local function happened(state, event, now)
  local kind = event.type
  if kind == 'headers' then merge(state, event, now)
  elseif kind == 'pause' then pause(state, now + event.ms, now)
  elseif kind == 'endPause' then state.pausedUntil = NEVER
  elseif kind == 'overloaded' then overloaded(state, now - event.startedAgo, now)
  elseif kind == 'ended' then ended(state, now - event.startedAgo)
  elseif kind == 'corrected' then
    local lane = state.lanes[event.lane]
    if not lane then return end
    if not event.isOwed then lane.finish = lane.finish + event.delta / lane.weight
    elseif lane.guarantee > 0 then lane.owedFrom = lane.owedFrom + event.delta / lane.guarantee end
    if event.epoch ~= lane.epoch then return end
    local tag = tagOf(event.lane, event.user)
    local later = (tag or lane.time) + event.delta
    if tag or later > lane.time then setTag(event.lane, event.user, later) end
  end
end
`;
