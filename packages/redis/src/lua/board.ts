/**
 * The notice board. One hash for each topic: by process, when its notice was put up, until when it stays, and what it says, with
 * a space between. Times are Redis's own, in milliseconds.
 *
 * KEYS[1]  the topic
 * ARGV     process, notice, how long it stays, channel of the topic, notices at most
 */
export const POST = `
local time = redis.call('TIME')
local now = math.floor(time[1] * 1000 + time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f %.0f ', now, now + ARGV[3]) .. ARGV[2])
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[5]) then
  local all, oldest, oldestAt = redis.call('HGETALL', KEYS[1]), nil, now + 1
  for i = 1, #all, 2 do
    local at, till = string.match(all[i + 1], '^(%d+) (%d+) ')
    if not at or tonumber(till) <= now then
      redis.call('HDEL', KEYS[1], all[i])
    elseif tonumber(at) < oldestAt then
      oldest, oldestAt = all[i], tonumber(at)
    end
  end
  if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[5]) and oldest then redis.call('HDEL', KEYS[1], oldest) end
end
redis.call('PEXPIRE', KEYS[1], math.max(ARGV[3], redis.call('PTTL', KEYS[1])))
redis.call('PUBLISH', ARGV[4], ARGV[1] .. '\\n' .. ARGV[2])
`;

/** What is up of a topic: process, milliseconds since it was put up, notice, one after the other. */
export const READ = `
local time = redis.call('TIME')
local now = math.floor(time[1] * 1000 + time[2] / 1000)
local all, up = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local at, till, notice = string.match(all[i + 1], '^(%d+) (%d+) (.*)$')
  if at and tonumber(till) > now then
    up[#up + 1] = all[i]
    up[#up + 1] = string.format('%.0f', math.max(0, now - at))
    up[#up + 1] = notice
  end
end
return up
`;
