-- What a script finds in place of the functions of Lua that could outlive a budget. It runs before the script, with
-- the functions of the host (library.rs) in `host`, and hands back what the machine calls.
--
-- At the end of a budget the hook suspends the coroutine that runs, and everything that had resumed it suspends itself
-- in turn (`halt`), up to the machine, which drops them all. For this to work, and for waiting,
--   * no function of the script may be called by a function of C that cannot be suspended. So what calls metamethods
--     or callbacks is written in Lua here, and tables are read in Lua, where the hook sees it.
--   * What catches errors asks `caught`, since functions of the host end a budget with an error.
--   * A coroutine's function runs in a protected call: an error that comes out of a hook leaves a coroutine with its
--     hooks off, and only the end of a protected call turns them on again.

local host, WAIT, KILL = ...

local error, getmetatable, select, tostring, type = error, getmetatable, select, tostring, type
local pcall, xpcall, tonumber = pcall, xpcall, tonumber
local create, resume, close, status = coroutine.create, coroutine.resume, coroutine.close, coroutine.status
local yield, running, isyieldable = coroutine.yield, coroutine.running, coroutine.isyieldable
local pack, unpack, tointeger, maxinteger = table.pack, table.unpack, math.tointeger, math.maxinteger
local sub, format, time = string.sub, string.format, os.time
local caught, meta, spent = host.caught, host.meta, host.spent

local weak = { __mode = "k" }
-- The coroutines that the machine has begun. Scripts may not resume them.
local tasks = setmetatable({}, weak)
-- The coroutines that were suspended at the end of a budget. Nobody may resume them.
local halted = setmetatable({}, weak)

local function bad(argument, name, why)
  error("bad argument #" .. argument .. " to '" .. name .. "' (" .. why .. ")", 3)
end

local function need_table(value, argument, name)
  local kind = type(value)
  if kind ~= "table" then
    error("bad argument #" .. argument .. " to '" .. name .. "' (table expected, got " .. kind .. ")", 3)
  end
end

local function need_integer(value, argument, name)
  local integer = tointeger(value)
  if integer == nil then
    local kind = type(value)
    local why = kind == "number" and "number has no integer representation" or "number expected, got " .. kind
    error("bad argument #" .. argument .. " to '" .. name .. "' (" .. why .. ")", 3)
  end
  return integer
end

-- Protected calls --------------------------------------------------------------------------------------------------

-- Suspends for good.
local function halt()
  yield()
  error("over budget", 0)
end

local function settle(good, ...)
  if good then
    return true, ...
  end
  local problem, over = caught((...))
  if over then
    halt()
  end
  if problem == KILL then
    error(KILL, 0)
  end
  return false, problem
end

_G.pcall = function(body, ...)
  return settle(pcall(body, ...))
end

-- The handler is called after the error, not where it was raised: there, it would run without hooks.
local function handle(handler, good, ...)
  if good then
    return true, ...
  end
  local _, answer = settle(pcall(handler, (...)))
  return false, answer
end

_G.xpcall = function(body, handler, ...)
  if type(handler) ~= "function" then
    bad(2, "xpcall", "function expected, got " .. type(handler))
  end
  return handle(handler, settle(pcall(body, ...)))
end

-- Coroutines -------------------------------------------------------------------------------------------------------

local function finish(good, ...)
  if good then
    return ...
  end
  error((...), 0)
end

local function begin(body)
  host.coroutine()
  return create(function(...)
    if (...) == KILL then
      return
    end
    return finish(pcall(body, ...))
  end)
end

local function passed(...)
  if (...) == KILL then
    error(KILL, 0)
  end
  return ...
end

local resumed

local function relayed(thread, ...)
  return resumed(thread, resume(thread, passed(...)))
end

function resumed(thread, good, ...)
  if not good then
    local problem, over = caught((...))
    if over then
      halt()
    end
    return false, problem
  end
  local first = ...
  if first == WAIT then
    -- What waits in a coroutine of the script waits in the call around it.
    return relayed(thread, yield(...))
  end
  if first == nil and spent() then
    halted[thread] = true
    halt()
  end
  return true, ...
end

local function need_thread(thread, name)
  if type(thread) ~= "thread" then
    error("bad argument #1 to '" .. name .. "' (coroutine expected)", 3)
  end
end

local function need_body(body, name)
  if type(body) ~= "function" then
    error("bad argument #1 to '" .. name .. "' (function expected, got " .. type(body) .. ")", 3)
  end
end

function coroutine.create(body)
  need_body(body, "create")
  return begin(body)
end

function coroutine.resume(thread, ...)
  need_thread(thread, "resume")
  if tasks[thread] then
    return false, "cannot resume a call of the server"
  elseif halted[thread] then
    return false, "cannot resume a coroutine that was over budget"
  end
  return resumed(thread, resume(thread, ...))
end

local function woken(good, ...)
  if good then
    return ...
  end
  error((...), type((...)) == "string" and 2 or 0)
end

function coroutine.wrap(body)
  need_body(body, "wrap")
  local thread = begin(body)
  return function(...)
    if halted[thread] then
      error("cannot resume a coroutine that was over budget", 2)
    end
    return woken(resumed(thread, resume(thread, ...)))
  end
end

-- A coroutine is closed by an error that it cannot catch. Lua's own way could not be suspended.
function coroutine.close(thread)
  need_thread(thread, "close")
  if tasks[thread] then
    error("cannot close a call of the server", 2)
  elseif halted[thread] then
    return true
  end
  local state = status(thread)
  if state == "dead" then
    local good, problem = close(thread)
    if good then
      return true
    end
    return false, (caught(problem))
  elseif state ~= "suspended" then
    error("cannot close a " .. state .. " coroutine", 2)
  end
  local good, problem
  repeat
    good, problem = resumed(thread, resume(thread, KILL))
  until status(thread) ~= "suspended"
  close(thread)
  if good or problem == KILL then
    return true
  end
  return false, problem
end

function coroutine.yield(...)
  if tasks[running()] then
    error("attempt to yield from outside a coroutine", 2)
  end
  return passed(yield(...))
end

-- Values -----------------------------------------------------------------------------------------------------------

local function text_of(...)
  if select("#", ...) == 0 then
    bad(1, "tostring", "value expected")
  end
  local value = ...
  if type(value) == "table" then
    local said = meta(value, "__tostring")
    if said ~= nil then
      said = said(value)
      local kind = type(said)
      if kind == "number" then
        said = tostring(said)
      elseif kind ~= "string" then
        error("'__tostring' must return a string", 2)
      end
      return said
    end
  end
  return tostring(value)
end

_G.tostring = text_of

local function following(list, index)
  index = index + 1
  local value = list[index]
  if value ~= nil then
    return index, value
  end
end

function ipairs(list)
  local kind = type(list)
  if kind ~= "table" and kind ~= "string" and kind ~= "userdata" then
    bad(1, "ipairs", "table expected, got " .. kind)
  end
  return following, list, 0
end

local FIELDS = { "year", "month", "day", "hour", "min", "sec", "isdst", "yday", "wday" }

function os.time(date)
  if type(date) ~= "table" or getmetatable(date) == nil then
    return host.time(date)
  end
  local plain = {}
  for index = 1, #FIELDS do
    plain[FIELDS[index]] = date[FIELDS[index]]
  end
  local seconds = host.time(plain)
  for index = 1, #FIELDS do
    date[FIELDS[index]] = plain[FIELDS[index]]
  end
  return seconds
end

-- Arithmetic with texts asks the other value's metatable.
local strings = getmetatable("")

local function arithmetic(name, work)
  strings[name] = function(left, right)
    local a, b = tonumber(left), tonumber(right)
    if a and b then
      return work(a, b)
    end
    local other = type(right) == "table" and meta(right, name)
    if not other then
      local what = "attempt to " .. sub(name, 3) .. " a '" .. type(left) .. "' with a '" .. type(right) .. "'"
      error(what, 2)
    end
    return other(left, right)
  end
end

arithmetic("__add", function(a, b) return a + b end)
arithmetic("__sub", function(a, b) return a - b end)
arithmetic("__mul", function(a, b) return a * b end)
arithmetic("__mod", function(a, b) return a % b end)
arithmetic("__pow", function(a, b) return a ^ b end)
arithmetic("__div", function(a, b) return a / b end)
arithmetic("__idiv", function(a, b) return a // b end)
arithmetic("__unm", function(a) return -a end)

-- Texts ------------------------------------------------------------------------------------------------------------

-- Calls `by` for each match, with one or all of what was caught, and puts its answers together.
local function replace(text, pattern, by, most, anchored, one)
  local pieces, size, at, last, count, changed = {}, 0, 1, nil, 0, false
  local function add(start, stop, ...)
    if not start then
      return false
    end
    local value = by(...)
    if not value then
      value = sub(text, start, stop - 1)
    else
      local kind = type(value)
      if kind ~= "string" and kind ~= "number" then
        error("invalid replacement value (a " .. kind .. ")", 4)
      end
      changed = true
    end
    if start > at then
      size = size + 1
      pieces[size] = sub(text, at, start - 1)
    end
    size = size + 1
    pieces[size] = value
    count, at, last = count + 1, stop, stop
    return true
  end
  while count < most and add(host.seek(text, pattern, at, last, anchored, one)) do
    if anchored then
      break
    end
  end
  if not changed then
    return text, count
  end
  size = size + 1
  pieces[size] = sub(text, at)
  return host.join(pieces, "", 1, size), count
end

function string.gsub(...)
  local _, _, by = ...
  local kind = type(by)
  if kind ~= "function" and kind ~= "table" then
    return host.replace(...)
  end
  local text, pattern, most, anchored = host.replacing(...)
  if kind == "table" then
    local answers = by
    by = function(key)
      return answers[key]
    end
  end
  local result, count = replace(text, pattern, by, most, anchored, kind == "table")
  return result, count
end

function string.gmatch(...)
  local text, pattern, at = host.matching(...)
  local last
  local function step(start, stop, ...)
    if start then
      at, last = stop, stop
      return ...
    end
    at = #text + 2
  end
  return function()
    return step(host.seek(text, pattern, at, last, false))
  end
end

local function format_said(...)
  local values = pack(...)
  for index = 2, values.n do
    local value = values[index]
    if type(value) == "table" and meta(value, "__tostring") ~= nil then
      values[index] = text_of(value)
    end
  end
  return format(unpack(values, 1, values.n))
end

function string.format(...)
  for index = 2, select("#", ...) do
    if type((select(index, ...))) == "table" then
      return format_said(...)
    end
  end
  return format(...)
end

-- Tables -----------------------------------------------------------------------------------------------------------

function table.insert(list, ...)
  need_table(list, 1, "insert")
  local count, size = select("#", ...), #list + 1
  if count == 1 then
    list[size] = (...)
    return
  end
  if count ~= 2 then
    error("wrong number of arguments to 'insert'", 2)
  end
  local at, value = ...
  at = need_integer(at, 2, "insert")
  if at < 1 or at > size then
    bad(2, "insert", "position out of bounds")
  end
  for index = size, at + 1, -1 do
    list[index] = list[index - 1]
  end
  list[at] = value
end

function table.remove(list, at)
  need_table(list, 1, "remove")
  local size = #list
  if at == nil then
    at = size
  else
    at = need_integer(at, 2, "remove")
  end
  if at ~= size and (at < 1 or at > size + 1) then
    bad(2, "remove", "position out of bounds")
  end
  local value = list[at]
  while at < size do
    list[at] = list[at + 1]
    at = at + 1
  end
  list[at] = nil
  return value
end

function table.move(from, first, last, at, to)
  need_table(from, 1, "move")
  first, last = need_integer(first, 2, "move"), need_integer(last, 3, "move")
  at = need_integer(at, 4, "move")
  if to == nil then
    to = from
  else
    need_table(to, 5, "move")
  end
  if last >= first then
    if not (first > 0 or last < maxinteger + first) then
      bad(3, "move", "too many elements to move")
    end
    local count = last - first + 1
    if at > maxinteger - count + 1 then
      bad(4, "move", "destination wrap around")
    end
    if at > last or at <= first or to ~= from then
      for index = 0, count - 1 do
        to[at + index] = from[first + index]
      end
    else
      for index = count - 1, 0, -1 do
        to[at + index] = from[first + index]
      end
    end
  end
  return to
end

function table.concat(list, separator, from, to)
  need_table(list, 1, "concat")
  if to == nil then
    to = #list
  end
  if getmetatable(list) == nil then
    return host.join(list, separator, from, to)
  end
  from = need_integer(from == nil and 1 or from, 3, "concat")
  to = need_integer(to, 4, "concat")
  local plain = {}
  for index = from, to do
    plain[index] = list[index]
  end
  return host.join(plain, separator, from, to)
end

function table.unpack(list, from, to)
  if to == nil then
    to = #list
  end
  from, to = host.spread(list, from, to)
  if getmetatable(list) ~= nil then
    local plain = {}
    for index = from, to do
      plain[index] = list[index]
    end
    list = plain
  end
  return unpack(list, from, to)
end

local function less(left, right)
  return left < right
end

-- Values that are not all numbers or all strings may have no order. Then the mistake is the caller's of `sort`.
local function less_or_blame(left, right)
  local good, answer = settle(pcall(less, left, right))
  if good then
    return answer
  end
  local bare = type(answer) == "string" and host.bare(answer)
  if bare then
    error(bare, 3)
  end
  error(answer, 0)
end

local function order(list, size)
  local kind = type(list[1])
  if kind ~= "number" and kind ~= "string" then
    return less_or_blame
  end
  for index = 2, size do
    if type(list[index]) ~= kind then
      return less_or_blame
    end
  end
  return less
end

-- Runs of so many are sorted by insertion, then merged. No comparison, however wrong, leads out of the list or makes
-- it take longer.
local RUN = 8

function table.sort(list, compare)
  need_table(list, 1, "sort")
  if compare ~= nil and type(compare) ~= "function" then
    bad(2, "sort", "function expected, got " .. type(compare))
  end
  local size = #list
  if size < 2 then
    return
  end
  local from, to = {}, {}
  for index = 1, size do
    from[index] = list[index]
  end
  compare = compare or order(from, size)
  for low = 1, size, RUN do
    local high = low + RUN - 1
    if high > size then
      high = size
    end
    for index = low + 1, high do
      local value, at = from[index], index
      while at > low and compare(value, from[at - 1]) do
        from[at] = from[at - 1]
        at = at - 1
      end
      from[at] = value
    end
  end
  local width = RUN
  while width < size do
    for low = 1, size, 2 * width do
      local middle, high = low + width, low + 2 * width
      if middle > size then
        middle = size + 1
      end
      if high > size then
        high = size + 1
      end
      local left, right = low, middle
      for at = low, high - 1 do
        if right >= high or (left < middle and not compare(from[right], from[left])) then
          to[at] = from[left]
          left = left + 1
        else
          to[at] = from[right]
          right = right + 1
        end
      end
    end
    from, to = to, from
    width = 2 * width
  end
  for index = 1, size do
    list[index] = from[index]
  end
end

-- Files and the log ------------------------------------------------------------------------------------------------

local loaded, loading = {}, {}

function require(name)
  if type(name) ~= "string" then
    bad(1, "require", "string expected, got " .. type(name))
  end
  local value = loaded[name]
  if value ~= nil then
    return value
  end
  if loading[name] then
    error("module '" .. name .. "' requires itself", 2)
  end
  local body = host.module(name)
  loading[name] = true
  local good, result = settle(pcall(body, name))
  loading[name] = nil
  if not good then
    error(result, 0)
  end
  if result == nil then
    result = true
  end
  loaded[name] = result
  return result
end

function print(...)
  local texts = { ... }
  local count = select("#", ...)
  for index = 1, count do
    texts[index] = text_of(texts[index])
  end
  host.log(host.join(texts, "\t", 1, count))
end

-- For the machine --------------------------------------------------------------------------------------------------

-- The text of an error that nobody has caught.
local function told(good, ...)
  if good then
    return true, ...
  end
  local problem, over = caught((...))
  if over then
    halt()
  end
  if problem == KILL or type(problem) == "string" then
    return false, problem
  end
  local _, text = settle(pcall(text_of, problem))
  return false, type(text) == "string" and text or "an error that is no text"
end

local function wait(...)
  return passed(yield(WAIT, ...))
end

return {
  -- Runs a function of the script as a call of the machine.
  entry = function(body, ...)
    tasks[running()] = true
    return told(xpcall(body, host.trace, ...))
  end,
  -- A function that starts something and waits for its answer.
  waiting = function(start)
    return function(...)
      host.may_wait(isyieldable())
      return wait(start(...))
    end
  end,
}
