/** packages/core/src/stores/ledger/turns.ts and the turns of exchange.ts, in Lua. */
export const TURNS = `
local function isWaiting(process, now) return not process.isLate and process.seenAt >= now - HEAD_MS end
local function isOwed(lane, now) return lane.guarantee > 0 and lane.owedFrom <= now end
local function comesBefore(a, b, now)
  local owedA, owedB = isOwed(a, now), isOwed(b, now)
  if owedA ~= owedB then return owedA end
  local difference = owedA and a.owedFrom - b.owedFrom or a.finish - b.finish
  if difference ~= 0 then return difference < 0 end
  return a.order < b.order
end
local function reserveOf(lane, now)
  return lane.guarantee > 0 and lane.dueFrom < now - 60000 and 0 or lane.reserve
end
local function serveLane(lane, cost, time, now)
  if lane.guarantee > 0 then lane.dueFrom = max(lane.dueFrom, now - 61000) + cost / lane.guarantee end
  if isOwed(lane, now) then
    lane.owedFrom = max(lane.owedFrom, now - 1000) + cost / lane.guarantee
    return true, time
  end
  local later = max(time, lane.finish)
  lane.finish = lane.finish + cost / lane.weight
  return false, later
end
local function usersOf(state, lane)
  local users = 0
  for _, process in pairs(state.processes) do users = users + (process.users[lane] or 0) end
  return users
end
local function isInUse(state, lane)
  for _, process in pairs(state.processes) do
    if process.users[lane] then return true end
  end
  return false
end

local function startOf(lane, call)
  local own = call.epoch == lane.epoch and call.at or lane.time
  return max(own, tagOf(lane, call.user) or own)
end
local function isBefore(a, b)
  if a.start ~= b.start then return a.start < b.start end
  if a.since ~= b.since then return a.since < b.since end
  return a.process < b.process
end

-- One exchange's look at who stands first.
local Turn = {}
Turn.__index = Turn

-- The first of each lane in the other processes: the same until one of them is late.
function Turn:others()
  if self.known then return self.known end
  local byLane, state = {}, self.state
  for name, other in pairs(state.processes) do
    if name ~= self.name and next(other.heads) and isWaiting(other, self.now) then
      for lane, head in pairs(other.heads) do
        local first = { lane = lane, process = name, start = head.start, since = head.since }
        if not byLane[lane] or isBefore(first, byLane[lane]) then byLane[lane] = first end
      end
    end
  end
  self.known = byLane
  return byLane
end

-- The first of each lane, in the order of the lanes' turns.
function Turn:firsts()
  local byLane, state, firsts = {}, self.state, {}
  for lane, first in pairs(self:others()) do byLane[lane] = first end
  for _, mine in ipairs(self.asking) do
    local known = byLane[mine.lane]
    if not known or isBefore(mine, known) then byLane[mine.lane] = mine end
  end
  for _, first in pairs(byLane) do firsts[#firsts + 1] = first end
  if #firsts < 2 then return firsts end
  table.sort(firsts, function(a, b)
    if a.lane == b.lane then return false end
    local laneA, laneB = state.lanes[a.lane], state.lanes[b.lane]
    if comesBefore(laneA, laneB, self.now) then return true end
    if comesBefore(laneB, laneA, self.now) then return false end
    return a.lane < b.lane
  end)
  return firsts
end

function Turn:isOverdue(process, lane)
  local other = self.state.processes[process]
  local head = other.heads[lane]
  if head.fitsSince == 0 then head.fitsSince = self.now end
  if self.now - head.fitsSince <= GRACE_MS then return false end
  other.isLate, self.known = true, nil
  return true
end

function Turn:remove(asking)
  for at, each in ipairs(self.asking) do
    if each == asking then
      table.remove(self.asking, at)
      return
    end
  end
end

-- There is room for it.
function Turn:go(asking, isFree)
  local lost = lostBy(asking, self.name, self.now)
  if not lost then return self:grant(asking, isFree) end
  self.results[#self.results + 1] = lost
  self:remove(asking)
end

function Turn:grant(asking, isFree)
  local call, now, state = asking.call, self.now, self.state
  for _, ask in ipairs(call.quotas) do
    local quota = quotaOf(ask.key)
    commit(quota, ask, ask.onExceed ~= 'wait' and isReserved(quota, ask, self.name), self.name, now)
  end
  local lane = state.lanes[call.lane]
  local result = { id = call.id, type = 'granted' }
  if not isFree then
    result.isOwed, state.laneTime = serveLane(lane, call.cost, state.laneTime, now)
    result.epoch, result.at = lane.epoch, asking.start + call.cost
    lane.time = max(asking.start, lane.time + call.cost / max(knowsNoLimit(state) and 2 or 1, usersOf(state, call.lane)))
    setTag(lane, call.user, result.at)
    forgetPassedTags(lane)
    for _, other in ipairs(self.asking) do
      if other.call.lane == call.lane then other.start = startOf(lane, other.call) end
    end
  end
  self.results[#self.results + 1] = result
  admit(state, call, self.me, now)
  self.granted = self.granted + 1
  self:remove(asking)
end

function Turn:backfill(first, firsts)
  local state, now = self.state, self.now
  local id = first.call and first.call.id or state.processes[first.process].heads[first.lane].id
  local input = state.limits.inputTokens
  local saved = state.saved
  if not saved or saved.process ~= first.process or saved.id ~= id then
    saved = { process = first.process, id = id, since = now, base = max(0, input and availableOf(input, now) or 0) }
    state.saved = saved
  end
  local putBy = saved.base + 0.5 * (input and refillOf(input) or 0) * (now - saved.since)
  local place, others = {}, {}
  for at, each in ipairs(firsts) do place[each.lane] = at end
  for _, asking in ipairs(self.asking) do
    if asking ~= first then others[#others + 1] = asking end
  end
  table.sort(others, function(a, b)
    local placeA, placeB = place[a.call.lane], place[b.call.lane]
    if placeA ~= placeB then return placeA < placeB end
    if a.start ~= b.start then return a.start < b.start end
    return a.call.id < b.call.id
  end)
  for _, asking in ipairs(others) do
    if not parkedBy(asking, self.name, now)
      and not shortageOf(state, self.name, asking.call, reserveOf(state.lanes[asking.call.lane], now), putBy, now) then
      self:go(asking, false)
      return true
    end
  end
  return false
end

-- One move; false where nothing moves any more.
function Turn:move()
  self.wake = nil
  local state, now = self.state, self.now
  local firsts = self:firsts()
  local isAlone = true
  for _, each in ipairs(firsts) do
    if each.process ~= self.name then isAlone = false end
  end
  for _, first in ipairs(firsts) do
    local mine = first.call and first
    local reserveShare = reserveOf(state.lanes[first.lane], now)
    local asked = mine and mine.call
    if mine then
      local parked = parkedBy(mine, self.name, now)
      if parked then
        self.results[#self.results + 1] = parked
        self:remove(mine)
        return true
      end
    else
      asked = state.processes[first.process].heads[first.lane]
      if asked.hasPath and not asked.path then
        local packed = packedAt('h:' .. first.process .. ':' .. first.lane)
        asked.path = packed and pathOf(packed)
      end
    end
    local short = shortageOf(state, self.name, asked, reserveShare, 0, now)
    if not short then
      if mine then
        self:go(mine, isAlone and not mine.call.isQueued and not knowsNoLimit(state))
        return true
      end
      if self:isOverdue(first.process, first.lane) then return true end
      self.wake = { process = first.process, waitMs = 0 }
      return false
    end
    if mine then self.waits[mine.call.id] = short
    else state.processes[first.process].heads[first.lane].fitsSince = 0 end
    local waitMs = short.waitMs == UNKNOWN_WAIT and 1000 or short.waitMs
    if not self.wake or waitMs < self.wake.waitMs then self.wake = { process = first.process, waitMs = waitMs } end
    local isOwnReserve = reserveShare > 0 and not shortageOf(state, self.name, asked, 0, 0, now)
    if not isOwnReserve then
      return short.reason == 'input_tokens_per_minute' and self:backfill(first, firsts)
    end
  end
  return false
end
`;
