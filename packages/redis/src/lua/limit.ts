/** packages/core/src/stores/ledger/limit.ts and trail.ts, in Lua. */
export const LIMIT = `
local VISIBLE = { requests = 3, inputTokens = 1500, outputTokens = 1500 }

local function capacityOf(l) return l.perMinute * l.share end
local function refillOf(l) return l.perMinute / 60000 - l.drift end
local function behindOf(l) return l.perMinute / 60000 * 100 end
local function visibleOf(l) return min(VISIBLE[l.name], 0.1 * capacityOf(l)) end
local function levelOf(l, now)
  return min(capacityOf(l), l.level + refillOf(l) * max(0, now - l.at))
end
local function availableOf(l, now) return levelOf(l, now) - l.held end
local function setLevel(l, level, now)
  l.level = min(capacityOf(l), level)
  l.at = max(now, l.at)
end

local function openLimit(name, perMinute, source, burst, now)
  if source == 'probe' then burst = 1 / 60 end
  local share = max(min(1, 1 / perMinute), burst > 0 and burst or 1 / 60)
  return {
    name = name, perMinute = perMinute, source = source, burst = burst, share = share,
    level = max(min(1, perMinute * share), perMinute * share * 0.5), at = now, held = 0, drift = 0,
    observedAt = now, loweredAt = NEVER, blamedAt = NEVER, pressedAt = NEVER, deeperAt = NEVER,
    growsFrom = now, retryMs = 600000, refusedAt = NEVER, shift = 0, bin = -1, low = 0, high = 0,
  }
end

local function note(l, now)
  local level = levelOf(l, now)
  local bin = floor(now / 500)
  local from = level - l.held - l.shift
  local to = level - l.shift
  if bin > l.bin then
    if l.bin >= 0 then setBin(l.name, l.bin, l.low, max(l.high, to)) end
    l.bin, l.low, l.high = bin, from, to
    return
  end
  l.low = min(l.low, from)
  l.high = max(l.high, to)
end
local function seenSince(l, from, now)
  local newest = floor(now / 500)
  local asked = floor(from / 500)
  local first = max(asked, newest - 31)
  if first ~= asked and from > now - 60000 then return nil end
  local low, high, trail = l.low, l.high, trailOf(l.name)
  for bin = newest, newest - 31, -1 do
    local which, lowest, highest = binIn(trail, bin)
    if which == bin then
      low = min(low, lowest)
      high = max(high, highest)
      if bin <= first then break end
    end
  end
  return { low = low + l.shift, high = high + l.shift }
end

local function charge(l, amount, now)
  if amount == 0 then return end
  note(l, now)
  setLevel(l, levelOf(l, now) - amount, now)
  note(l, now)
end
local function sendOff(l, amount, held, now)
  note(l, now)
  local level = levelOf(l, now)
  setLevel(l, level - amount - max(0, level - (capacityOf(l) - behindOf(l))), now)
  l.held = l.held + held
  note(l, now)
end
local function hold(l, delta, now)
  if delta == 0 then return end
  note(l, now)
  l.held = l.held + delta < 1e-6 and 0 or l.held + delta
  note(l, now)
end

local function grow(l, now)
  local ms = now - l.pressedAt
  local most = l.burst > 0 and l.burst or 1
  if ms < 10 and ms >= 0 then return end
  l.pressedAt = now
  if now < l.growsFrom or l.share >= most or ms > 1000 or ms < 0 then return end
  local level = levelOf(l, now)
  local before = capacityOf(l)
  local speed = (now - l.deeperAt < 2000) and (0.5 / 60000) or (0.25 / 60000)
  l.share = min(most, l.share + speed * ms)
  local deeper = capacityOf(l) - before
  l.shift = l.shift + deeper
  setLevel(l, level + deeper, now)
end
local function waitForAmount(l, amount, reserved, now)
  local capacity = capacityOf(l)
  local needed = min(amount + visibleOf(l), capacity - reserved, capacity)
  local missing = needed - (levelOf(l, now) - reserved - l.held)
  if missing <= 1e-6 then return 0 end
  grow(l, now)
  return missing / max(1e-9, refillOf(l))
end

local function resize(l, perMinute, burst, now)
  local used = capacityOf(l) - levelOf(l, now)
  if burst ~= l.burst then
    l.burst = burst
    if burst > 0 then l.share = max(min(1, 1 / perMinute), burst) end
  end
  l.perMinute = perMinute
  l.drift = min(l.drift, perMinute / 60000 * 0.95)
  setLevel(l, capacityOf(l) - used, now)
  l.loweredAt = now
  note(l, now)
end
local function resizeAsTold(l, perMinute, now)
  local least = min(1, perMinute / l.perMinute) * min(0, levelOf(l, now))
  resize(l, perMinute, l.burst, now)
  setLevel(l, max(least, levelOf(l, now)), now)
end

local function shiftBy(l, amount, now)
  local rate = l.perMinute / 60000
  local level = levelOf(l, now)
  local shifted = min(capacityOf(l), level + amount)
  l.shift = l.shift + shifted - level
  local most = rate * min(1000, now - l.observedAt)
  l.observedAt = now
  local isOwnDoing = amount > 0 and now - l.blamedAt < 10000
  local step = isOwnDoing and 0 or max(-most, min(most, level - shifted)) / 6000
  l.drift = max(0, min(rate * 0.95, l.drift + step))
  setLevel(l, shifted, now)
end
local function observe(l, remaining, sentAt, unsure, mayRaise, now)
  note(l, now)
  local seen = seenSince(l, sentAt - 100, now)
  if not seen then return end
  local slack = (l.name == 'requests' and 1 or 500) + unsure
  local tooHigh = seen.low - (remaining + slack)
  local tooLow = remaining - slack - 2 * behindOf(l) - max(0, seen.high)
  if tooHigh > 0 then
    shiftBy(l, -tooHigh, now)
    l.loweredAt = now
  elseif mayRaise and tooLow > 0 and remaining > slack and sentAt > l.loweredAt then
    l.deeperAt = now
    local most = l.perMinute / 60000 * min(100, now - l.observedAt)
    shiftBy(l, min(tooLow, most), now)
  end
end

local function refused(l, sentAt, now)
  local rate = l.perMinute / 60000
  local left = availableOf(l, now)
  if left > 0 and sentAt > l.blamedAt then
    local ms = min(5000, max(2000, now - l.blamedAt))
    local level = levelOf(l, now)
    l.blamedAt = now
    l.drift = min(rate * 0.95, l.drift + left / ms)
    setLevel(l, level, now)
  end
  local slack = (l.name == 'requests' and 2 or 1000) + behindOf(l)
  local used = capacityOf(l) - left
  local seen = seenSince(l, now - 60000, now)
  if left <= slack or (seen and seen.high or NEVER) < used then return end
  local isKnown = sentAt <= l.refusedAt
  l.refusedAt = now
  if isKnown then return end
  local before = capacityOf(l)
  local level = levelOf(l, now)
  l.share = max(min(1, 1 / l.perMinute), min(l.share, used / l.perMinute * 0.9))
  l.growsFrom = now + l.retryMs
  l.retryMs = min(86400000, l.retryMs * 2)
  local lowered = min(capacityOf(l), level - (before - capacityOf(l)))
  l.shift = l.shift + lowered - level
  setLevel(l, lowered, now)
end
local function emptyUntil(l, till, now)
  local bound = l.held - refillOf(l) * max(0, till - now)
  local level = levelOf(l, now)
  if level <= bound then return end
  l.shift = l.shift + bound - level
  l.loweredAt = now
  setLevel(l, bound, now)
end
local function boundBy(l, level, now)
  if levelOf(l, now) <= level then return end
  setLevel(l, level, now)
  note(l, now)
end
`;
