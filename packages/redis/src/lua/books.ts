/** What the ledger reads and writes beside the state of its bucket: each field at its first use, and all that changed at the end. */
export const BOOKS = `
local LEASE_MS, QUIET_MS, HEAD_MS, GRACE_MS, HEARTBEAT_MS, KEPT_MS, AGAIN_MS = 10000, 1500, 2500, 50, 1000, 86400000, 3600000
local NEVER = -1e15
local NAMES = { 'requests', 'inputTokens', 'outputTokens' }
local min, max, floor, abs, sqrt = math.min, math.max, math.floor, math.abs, math.sqrt
-- For all lists and maps in which there is nothing: never written to.
local NONE = {}

-- Fields of the side, packed, as they were read and as they are to be written; false for one that is not there, or goes.
local stored, written = {}, {}
-- Several in one call, which takes longer than what it reads.
local function fetch(fields)
  local packed = redis.call('HMGET', KEYS[2], unpack(fields))
  for at, field in ipairs(fields) do stored[field] = packed[at] end
end
local function packedAt(field)
  local packed = written[field]
  if packed == nil then packed = stored[field] end
  if packed == nil then
    fetch({ field })
    packed = stored[field]
  end
  return packed or nil
end

-- Trails of the limits: bin, low, high of each of 32 bins. They stay packed, since most looks go back over some of them alone.
local BIN, TRAIL_FIELDS = '<ddd', { 't:requests', 't:inputTokens', 't:outputTokens' }
local function trailOf(name)
  if stored[TRAIL_FIELDS[1]] == nil then fetch(TRAIL_FIELDS) end
  return packedAt('t:' .. name) or string.rep(struct.pack('<d', -1), 96)
end
local function binIn(trail, bin) return struct.unpack(BIN, trail, 24 * (bin % 32) + 1) end
local function setBin(name, bin, low, high)
  local trail, from = trailOf(name), 24 * (bin % 32)
  written['t:' .. name] = trail:sub(1, from) .. struct.pack(BIN, bin, low, high) .. trail:sub(from + 25)
end

local seen = {}
local function seenAt(process)
  if seen[process] == nil then seen[process] = tonumber(redis.call('HGET', KEYS[3], process) or '0') end
  return seen[process]
end
local function forgetProcess(process, now, isGone)
  if not isGone and seenAt(process) >= now - LEASE_MS then return end
  redis.call('HDEL', KEYS[3], process)
  seen[process] = 0
end
-- The last answer to a process that was given up: what it says again has been applied. A key of its own, that it may expire.
local function lastOf(process) return KEYS[2] .. ':r:' .. process end
-- Each process listens to a channel of its own as long as its connection stands. Of a cluster that cannot be asked: ARGV[3] is empty.
local function isGone(process, isWatched)
  if ARGV[3] == '' or not isWatched then return false end
  local told = redis.pcall('PUBSUB', 'NUMSUB', ARGV[3] .. process)
  return type(told) == 'table' and told[2] == 0
end

-- Keys of the lanes that the exchange tells of.
local laneKeys = {}
local quotas = {}
local function quotaOf(key)
  local known = quotas[key]
  if not known then
    local packed = redis.call('GET', key)
    known = packed and cmsgpack.unpack(packed) or { meters = {}, claims = {} }
    quotas[key] = known
  end
  return known
end

-- Tags of the users of each lane. One that the lane's time has passed is none.
local tags = {}
local function tagsOf(name)
  local known = tags[name]
  if not known then
    known = { byUser = {}, set = {} }
    tags[name] = known
  end
  return known
end
local function tagOf(lane, user)
  local byUser = tagsOf(lane.name).byUser
  local tag = byUser[user]
  if tag == nil then
    local score = lane.isTagged and redis.call('ZSCORE', laneKeys[lane.name], user)
    tag = score and tonumber(score) or false
    byUser[user] = tag
  end
  return tag and tag > lane.time and tag or nil
end
local function setTag(lane, user, tag)
  local own = tagsOf(lane.name)
  own.byUser[user], own.set[user] = tag, tag
end
local function forgetPassedTags(lane) tagsOf(lane.name).hasMoved = true end
local function forgetAllTags(lane) tags[lane.name] = { byUser = {}, set = {}, isForgotten = true } end

local function writeTags(lane)
  local own = tags[lane.name]
  if not own then return end
  local key = laneKeys[lane.name]
  if own.isForgotten then
    if lane.isTagged then redis.call('DEL', key) end
    lane.isTagged = false
  end
  local scores, passed = {}, {}
  for user, tag in pairs(own.set) do
    if tag > lane.time then
      scores[#scores + 1] = string.format('%.17g', tag)
      scores[#scores + 1] = user
    else passed[#passed + 1] = user end
  end
  -- What was put right may lie before the lane's time, and what was kept before that after it.
  if lane.isTagged and #passed > 0 then redis.call('ZREM', key, unpack(passed)) end
  if lane.isTagged and own.hasMoved then redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.17g', lane.time)) end
  if #scores > 0 then
    redis.call('ZADD', key, unpack(scores))
    redis.call('PEXPIRE', key, 600000)
    lane.isTagged = true
  end
end

local function writeBooks()
  local fields, gone = {}, {}
  for field, packed in pairs(written) do
    if packed then
      fields[#fields + 1] = field
      fields[#fields + 1] = packed
    else
      gone[#gone + 1] = field
    end
  end
  redis.call('HSET', KEYS[2], unpack(fields))
  if #gone > 0 then redis.call('HDEL', KEYS[2], unpack(gone)) end
end
`;
