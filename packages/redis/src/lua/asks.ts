/** packages/core/src/stores/ledger/asks.ts, in Lua. */
export const ASKS = `
local function exceededBy(id, index, onExceed, binding)
  local waitMs = binding.waitMs
  if waitMs == UNTIL_ANOTHER_ENDS then waitMs = nil end
  return { id = id, type = 'exceeded', quota = index - 1, onExceed = onExceed, reason = binding.reason, waitMs = waitMs }
end
local function bindingIn(ask, process, now)
  local state = quotaOf(ask.key)
  forgetDead(state, process, now)
  return bindingOf(state, ask, now)
end
local function arrive(id, asks, process, now)
  for index, ask in ipairs(asks) do
    if not ask.isHeld and ask.onExceed ~= 'shadow' then
      local binding = bindingIn(ask, process, now)
      if binding and (ask.onExceed == 'refuse' or binding.waitMs == NEVER_FITS) then
        for _, each in ipairs(asks) do
          if each.isHeld then letGo(quotaOf(each.key), each, process) end
        end
        return exceededBy(id, index, 'refuse', binding)
      end
    end
  end
  for _, ask in ipairs(asks) do
    if not ask.isHeld and ask.onExceed ~= 'wait' then reserve(quotaOf(ask.key), ask, process) end
  end
  return nil
end
local function parkedBy(asking, process, now)
  for index, ask in ipairs(asking.call.quotas) do
    if ask.onExceed == 'wait' then
      local binding = bindingIn(ask, process, now)
      if binding then return exceededBy(asking.call.id, index, 'wait', binding) end
    end
  end
  return nil
end
local function lostBy(asking, process, now)
  local call = asking.call
  for index, ask in ipairs(call.quotas) do
    if ask.isHeld and ask.onExceed ~= 'shadow' and not isReserved(quotaOf(ask.key), ask, process) then
      local binding = bindingIn(ask, process, now)
      if binding then
        for _, each in ipairs(call.quotas) do
          if each.onExceed ~= 'wait' then letGo(quotaOf(each.key), each, process) end
        end
        return exceededBy(call.id, index, 'refuse', binding)
      end
    end
  end
  return nil
end
`;
