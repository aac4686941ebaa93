/** packages/core/src/stores/ledger/path.ts, in Lua. A sum is one flat list: base, use0, most0, use, variance, most. */
export const PATH = `
local POINTS = 20
local POINT_MS = {}
for k = 1, POINTS do POINT_MS[k] = 100 * 1.5 ^ (k - 1) end

local function emptySum(base)
  local sum = { base, 0, 0 }
  for k = 4, 3 + 3 * POINTS do sum[k] = 0 end
  return sum
end
local function sumOf(path, now)
  local sum = { now, 0, 0 }
  for k = 1, POINTS do
    sum[3 + k] = path.use[k]
    sum[3 + POINTS + k] = path.variance[k]
    sum[3 + 2 * POINTS + k] = path.most[k]
  end
  return sum
end
local function interpolate(sum, offset, start, ms)
  local fromMs, from = 0, start
  for k = 1, POINTS do
    local toMs, to = POINT_MS[k], sum[offset + k]
    if ms <= toMs then return from + (to - from) * max(0, ms - fromMs) / (toMs - fromMs) end
    fromMs, from = toMs, to
  end
  return from
end
-- Reads a sum off at our points, each since later: one walk, since both rise.
local function readOff(sum, offset, start, since, into)
  if since == 0 then
    for k = 1, POINTS do into[k] = sum[offset + k] end
    return
  end
  local j, fromMs, from = 1, 0, start
  for k = 1, POINTS do
    local ms = since + POINT_MS[k]
    while j <= POINTS and ms > POINT_MS[j] do
      fromMs, from = POINT_MS[j], sum[offset + j]
      j = j + 1
    end
    if j > POINTS then into[k] = from
    else into[k] = from + (sum[offset + j] - from) * max(0, ms - fromMs) / (POINT_MS[j] - fromMs) end
  end
end
local readA, readB, readC = {}, {}, {}
local function addSum(sum, other)
  local since = sum[1] - other[1]
  if since == 0 then
    for k = 2, 3 + 3 * POINTS do sum[k] = sum[k] + other[k] end
    return
  end
  sum[2] = sum[2] + interpolate(other, 3, other[2], since)
  sum[3] = sum[3] + interpolate(other, 3 + 2 * POINTS, other[3], since)
  readOff(other, 3, other[2], since, readA)
  readOff(other, 3 + POINTS, 0, since, readB)
  readOff(other, 3 + 2 * POINTS, other[3], since, readC)
  for k = 1, POINTS do
    sum[3 + k] = sum[3 + k] + readA[k]
    sum[3 + POINTS + k] = sum[3 + POINTS + k] + readB[k]
    sum[3 + 2 * POINTS + k] = sum[3 + 2 * POINTS + k] + readC[k]
  end
end
-- next is a sum made now.
local function lowestAhead(sum, next, level, capacity, ratePerMs, now)
  local since = now - sum[1]
  local lastMs = 0
  local lastUse = interpolate(sum, 3, sum[2], since)
  local lastMost = interpolate(sum, 3 + 2 * POINTS, sum[3], since)
  readOff(sum, 3, sum[2], since, readA)
  readOff(sum, 3 + POINTS, 0, since, readB)
  readOff(sum, 3 + 2 * POINTS, sum[3], since, readC)
  local ahead, worst = level - lastUse, level - lastMost
  local lowest, forgotten = ahead, 0
  for k = 1, POINTS do
    local ms = POINT_MS[k]
    local use = readA[k] + next[3 + k]
    local most = readC[k] + next[3 + 2 * POINTS + k]
    local variance = readB[k] + next[3 + POINTS + k]
    local refill = ratePerMs * (ms - lastMs)
    ahead = ahead + refill - (use - lastUse)
    worst = min(capacity, worst + refill - (most - lastMost))
    if ahead >= capacity then
      ahead = capacity
      forgotten = variance
    end
    local likely = ahead - 1.5 * sqrt(max(0, variance - forgotten))
    lowest = min(lowest, max(worst, likely))
    lastMs, lastUse, lastMost = ms, use, most
  end
  return lowest
end
`;
