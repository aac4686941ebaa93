/** packages/core/src/stores/ledger/ramp.ts, in Lua. */
export const RAMP = `
local RAMP_FIELDS = {
  'pace', 'slowedAt', 'borne', 'floor', 'level', 'at', 'boundAt', 'second', 'count', 'before', 'half', 'peak', 'peakBefore',
}
local function openRamp()
  local ramp = {}
  for _, field in ipairs(RAMP_FIELDS) do ramp[field] = 0 end
  ramp.slowedAt, ramp.boundAt = NEVER, NEVER
  return ramp
end
local function packRamp(ramp)
  local numbers = {}
  for at, field in ipairs(RAMP_FIELDS) do numbers[at] = ramp[field] end
  return struct.pack('<ddddddddddddd', unpack(numbers))
end
local function unpackRamp(packed)
  local ramp, numbers = {}, { struct.unpack('<ddddddddddddd', packed) }
  for at, field in ipairs(RAMP_FIELDS) do ramp[field] = numbers[at] end
  return ramp
end

local function turnRamp(ramp, now)
  local second = floor(now / 1000)
  if second ~= ramp.second then
    ramp.before = second == ramp.second + 1 and ramp.count or 0
    ramp.count, ramp.second = 0, second
  end
  local half = floor(now / 30000)
  if half == ramp.half then return end
  ramp.peakBefore = half == ramp.half + 1 and ramp.peak or 0
  ramp.peak, ramp.half = 0, half
end
local function sentOf(ramp, requests, now)
  turnRamp(ramp, now)
  ramp.count = ramp.count + requests
  ramp.peak = max(ramp.peak, ramp.count)
  if ramp.slowedAt > NEVER then ramp.level = max(-1, ramp.level - requests) end
end
local function refusedFor(ramp, sentAt, till, limitPerMs, now)
  turnRamp(ramp, now)
  local second = floor(sentAt / 1000)
  if second == ramp.second then ramp.count = max(0, ramp.count - 1) end
  if second == ramp.second - 1 then ramp.before = max(0, ramp.before - 1) end
  if sentAt <= ramp.slowedAt then ramp.borne = max(0, ramp.borne - 1)
  else
    ramp.borne = ramp.count + (1 - (now / 1000 - ramp.second)) * ramp.before
    ramp.floor = ramp.pace > 0 and 0.5 * ramp.pace or 0.1 * limitPerMs
    ramp.slowedAt, ramp.level, ramp.at = now, 0, till
  end
  ramp.peak = min(ramp.peak, max(ramp.borne, ramp.count))
  ramp.peakBefore = min(ramp.peakBefore, ramp.borne)
  local borne = ramp.borne / 1000
  local most = limitPerMs > 0 and min(borne, limitPerMs) or borne
  ramp.pace = max(1 / 1000, ramp.floor, 0.5 * most)
end
local function rampWait(ramp, limit, now)
  if ramp.slowedAt <= NEVER then return 0 end
  local ms = max(0, now - ramp.at)
  if now - ramp.boundAt < 1000 and ramp.pace > 0 then
    ramp.pace = ramp.pace + 0.05 * (limit > 0 and limit or ramp.pace) * ms / 10000
  end
  if limit > 0 and ramp.pace >= limit and now - ramp.boundAt > 60000 then ramp.pace = 0 end
  local cold = 0
  if limit > 0 then
    turnRamp(ramp, now)
    cold = max(0.1 * limit, 2 * max(ramp.peak, ramp.peakBefore) / 1000)
  end
  local pace = ramp.pace > 0 and cold > 0 and min(ramp.pace, cold) or max(ramp.pace, cold)
  ramp.at = max(ramp.at, now)
  local most = max(1, pace * 100)
  ramp.level = pace == 0 and most or min(most, ramp.level + pace * ms)
  if ramp.level >= 1 or pace == 0 then return 0 end
  ramp.boundAt = now
  return (1 - ramp.level) / pace + max(0, ramp.at - now)
end
local function endRamp(ramp) ramp.pace, ramp.slowedAt = 0, NEVER end
`;
