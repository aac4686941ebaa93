/** packages/core/src/stores/ledger/quotas.ts, in Lua. */
export const QUOTAS = `
local NEVER_FITS, UNTIL_ANOTHER_ENDS = -1, -2

local function refill(meter, now)
  meter.level = min(meter.capacity, meter.level + meter.ratePerMs * max(0, now - meter.at))
  meter.at = max(meter.at, now)
end
local function meterOf(state, ask, now)
  local meter = state.meters[ask.name]
  if not meter then
    meter = { level = 0, at = now, used = 0, start = 0, ['end'] = 0, capacity = 0, ratePerMs = 0 }
    if ask.kind == 'continuous' then meter.level = ask.capacity end
    state.meters[ask.name] = meter
  end
  if ask.kind == 'continuous' then
    meter.capacity, meter.ratePerMs = ask.capacity, ask.ratePerMs
    refill(meter, now)
  elseif meter['end'] <= ask.start and now >= ask.start then
    meter.used, meter.start, meter['end'] = 0, ask.start, ask['end']
  end
  return meter
end
local function quotaHeld(state, name)
  local held = 0
  for _, claim in pairs(state.claims) do held = held + (claim.held[name] or 0) end
  return held
end
local function slotsOf(state)
  local slots = 0
  for _, claim in pairs(state.claims) do slots = slots + claim.slots end
  return slots
end
local function forgetDead(state, me, now)
  for process in pairs(state.claims) do
    if process ~= me and seenAt(process) < now - LEASE_MS then state.claims[process] = nil end
  end
end
local function meterWait(meter, ask, held, isAlone, now)
  local least, amount = ask.least or ask.amount, isAlone and ask.alone or ask.amount
  if ask.kind == 'window' then
    if least > ask.quota then return NEVER_FITS end
    if min(amount, ask.quota) <= ask.quota - meter.used - held + 1e-9 then return 0 end
    return max(1, meter['end'] - now)
  end
  if least > max(ask.quota, ask.capacity) then return NEVER_FITS end
  local missing = min(amount, ask.capacity) - (meter.level - held)
  return missing <= 1e-6 and 0 or missing / ask.ratePerMs
end
local function bindingOf(state, ask, now)
  if ask.concurrency and slotsOf(state) >= ask.concurrency then
    return { reason = 'concurrency', waitMs = UNTIL_ANOTHER_ENDS }
  end
  local worst
  local isAlone = slotsOf(state) == 0
  for _, each in ipairs(ask.meters) do
    if not (each.name == 'requests' and each.amount == 0) then
      local waitMs = meterWait(meterOf(state, each, now), each, quotaHeld(state, each.name), isAlone, now)
      if waitMs ~= 0 and not (worst and worst.waitMs == NEVER_FITS)
        and (waitMs == NEVER_FITS or waitMs > (worst and worst.waitMs or 0)) then
        worst = { reason = each.name == 'usd' and 'budget' or 'user_quota', waitMs = waitMs }
      end
    end
  end
  return worst
end
local function claimOf(state, process)
  local claim = state.claims[process]
  if not claim then
    claim = { slots = 0, held = {} }
    state.claims[process] = claim
  end
  return claim
end
local function release(claim, name, amount)
  local held = (claim.held[name] or 0) - amount
  claim.held[name] = held < 1e-9 and 0 or held
end
local function reserve(state, ask, process)
  local claim = claimOf(state, process)
  claim.slots = claim.slots + 1
  for _, each in ipairs(ask.meters) do claim.held[each.name] = (claim.held[each.name] or 0) + each.amount end
end
local function tidy(state, process)
  local claim = state.claims[process]
  if claim.slots ~= 0 then return end
  for _, amount in pairs(claim.held) do
    if amount ~= 0 then return end
  end
  state.claims[process] = nil
end
local function isReserved(state, ask, process)
  local claim = state.claims[process]
  if not claim then return false end
  for _, each in ipairs(ask.meters) do
    if each.amount > (claim.held[each.name] or 0) + 1e-9 then return false end
  end
  return true
end
local function letGo(state, ask, process)
  if not isReserved(state, ask, process) then return end
  local claim = state.claims[process]
  claim.slots = max(0, claim.slots - 1)
  for _, each in ipairs(ask.meters) do release(claim, each.name, each.amount) end
  tidy(state, process)
end
local function commit(state, ask, isHeld, process, now)
  local claim = claimOf(state, process)
  if not isHeld then claim.slots = claim.slots + 1 end
  for _, each in ipairs(ask.meters) do
    if isHeld then release(claim, each.name, each.amount) end
    local meter = meterOf(state, each, now)
    if each.kind == 'window' then meter.used = meter.used + each.amount
    else meter.level = meter.level - each.amount end
  end
end
local function changeQuota(state, change, process, now)
  local claim = claimOf(state, process)
  claim.slots = max(0, claim.slots + change.slots)
  for _, each in ipairs(change.meters) do
    if each.released ~= 0 then release(claim, each.name, each.released) end
    local meter = state.meters[each.name]
    if meter and each.used ~= 0 then
      if meter['end'] == 0 then
        refill(meter, now)
        meter.level = meter.level - each.used
      elseif each.at >= meter.start then meter.used = meter.used + each.used end
    end
  end
  tidy(state, process)
end
local function keptMs(state, now)
  local ms = next(state.claims) and 3600000 or 60000
  for _, meter in pairs(state.meters) do
    ms = max(ms, meter.ratePerMs > 0 and (meter.capacity - meter.level) / meter.ratePerMs or meter['end'] - now)
  end
  return ms
end
`;
