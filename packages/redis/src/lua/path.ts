import { POINTS } from '../message.ts';

const POINT_MS = Array.from({ length: POINTS }, (_, k) => 100 * 1.5 ** k);
const NUMBERS = 'd'.repeat(3 * POINTS);
const at = (k: number) => 8 * k - 7;

/**
 * packages/core/src/stores/ledger/path.ts, in Lua. A path, and a sum of paths, is a list: as of when, then use, variance and most
 * at each point. A path stays packed until somebody wants more of it than its last points.
 */
export const PATH = `
local POINTS = ${POINTS}
local NUMBERS = 1 + 3 * POINTS
local PACKED = '<d${NUMBERS}'

local function pathOf(packed)
  local use, variance, most = struct.unpack('<d', packed, ${at(POINTS)}), struct.unpack('<d', packed, ${at(2 * POINTS)}),
    struct.unpack('<d', packed, ${at(3 * POINTS)})
  return { packed = packed, use = use, spread = variance, most = most }
end
local function numbersOf(path, now)
  if not path.numbers then path.numbers = { now, struct.unpack('<${NUMBERS}', path.packed) } end
  return path.numbers
end
local function emptySum(now)
  local sum = { now }
  for k = 2, NUMBERS do sum[k] = 0 end
  return sum
end
local function packSum(sum) return struct.pack(PACKED, unpack(sum, 1, NUMBERS)) end
local function unpackSum(packed) return packed and { struct.unpack(PACKED, packed) } end

-- Adds other, so many times. One that has begun before is read off where our points are: a straight line between its own. What it
-- has come to by our begin is in use0 and most0.
local POINT_MS
local function addSum(sum, other, times)
  local since = sum[1] - other[1]
  if since == 0 then
    for k = 2, NUMBERS do sum[k] = sum[k] + times * other[k] end
    return
  end
  POINT_MS = POINT_MS or { ${POINT_MS.join(', ')} }
  local j, fromMs, toMs = 0, 0, POINT_MS[1]
  local fromUse, fromVariance, fromMost = 0, 0, 0
  local toUse, toVariance, toMost = other[2], other[2 + POINTS], other[2 + 2 * POINTS]
  for k = 0, POINTS do
    local ms = since + (POINT_MS[k] or 0)
    while toMs and ms > toMs do
      j = j + 1
      fromMs, fromUse, fromVariance, fromMost = toMs, toUse, toVariance, toMost
      toMs = POINT_MS[j + 1]
      if toMs then toUse, toVariance, toMost = other[2 + j], other[2 + POINTS + j], other[2 + 2 * POINTS + j] end
    end
    local part = toMs and max(0, ms - fromMs) / (toMs - fromMs) or 0
    local use = fromUse + (toUse - fromUse) * part
    local variance = fromVariance + (toVariance - fromVariance) * part
    local most = fromMost + (toMost - fromMost) * part
    if k == 0 then
      sum.use0, sum.most0 = (sum.use0 or 0) + times * use, (sum.most0 or 0) + times * most
    else
      sum[1 + k] = sum[1 + k] + times * use
      sum[1 + POINTS + k] = sum[1 + POINTS + k] + times * variance
      sum[1 + 2 * POINTS + k] = sum[1 + 2 * POINTS + k] + times * most
    end
  end
end

-- Both begin now.
local function lowestAhead(sum, next, level, capacity, ratePerMs)
  POINT_MS = POINT_MS or { ${POINT_MS.join(', ')} }
  local lastMs, lastUse, lastMost = 0, sum.use0 or 0, sum.most0 or 0
  local ahead, worst = level - lastUse, level - lastMost
  local lowest, forgotten = ahead, 0
  for k = 1, POINTS do
    local ms = POINT_MS[k]
    local use = sum[1 + k] + next[1 + k]
    local most = sum[1 + 2 * POINTS + k] + next[1 + 2 * POINTS + k]
    local variance = sum[1 + POINTS + k] + next[1 + POINTS + k]
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
