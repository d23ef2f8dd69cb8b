-- The globals of scripts. A part of the prelude: `own` are its tables and functions, `host` leads to Python.
--
-- Wrappers call what they wrap by its own name and not as a tail call, so that error texts name the function.
local host, functions, own = ...
local visible, content, metatables, frozen, READONLY = own.visible, own.content, own.metatables, own.frozen, own.READONLY
local globals, waiting, install = own.globals, own.waiting, own.install
local compile, settled, placed, on_error = own.compile, own.settled, own.placed, own.on_error
local as_error, pass_door, heed, install_hook = own.as_error, own.pass_door, own.heed, own.install_hook
local error, type, tostring, tonumber, select = error, type, tostring, tonumber, select
local next, pairs, rawget, rawset = next, pairs, rawget, rawset
local pcall, xpcall, unpack, collectgarbage = pcall, xpcall, unpack, collectgarbage
local setmetatable, getmetatable, getfenv = setmetatable, getmetatable, getfenv
local insert, concat, sort = table.insert, table.concat, table.sort
local create, resume, wrap = coroutine.create, coroutine.resume, coroutine.wrap
local find, match, gmatch, gsub, rep = string.find, string.match, string.gmatch, string.gsub, string.rep

-- Beyond these, the C functions of Lua are asked first whether they may, as nothing interrupts them.
local MANY_VALUES = 8000 -- as many as Lua's stack takes from a C function
local MANY_ITEMS = 10000 -- elements of a table
local LARGE = 100000 -- bytes of a string
local COMPLEX = 10000 -- signs of repetition and capture in a pattern: each may take another frame of the C stack

local function pick(from, names)
  local picked = {}
  for name in string.gmatch(names, '%S+') do
    picked[name] = from[name]
  end
  return picked
end

local base = pick(_G, '_VERSION assert error gcinfo ipairs rawequal select tonumber tostring type')
for name, value in pairs(base) do
  visible[name] = value
end
visible._G = globals

function visible.getmetatable(value)
  if content[value] then
    return metatables[value]
  end
  return getmetatable(value)
end

function visible.setmetatable(...)
  if content[(...)] then
    error(READONLY, 0)
  end
  local changed = setmetatable(...)
  return changed
end

function visible.rawset(...)
  if content[(...)] then
    error(READONLY, 0)
  end
  local changed = rawset(...)
  return changed
end

function visible.rawget(shown, name)
  if shown == globals and waiting[name] then
    install(name)
  end
  local value = rawget(content[shown] or shown, name)
  return value
end

local function next_shown(shown, name)
  if shown == globals then
    for library in next, waiting do
      install(library)
    end
  end
  local following, value = next(content[shown] or shown, name)
  return following, value
end

function visible.next(shown, name)
  local following, value = next_shown(shown, name)
  return following, value
end

function visible.pairs(...)
  if content[(...)] then
    return next_shown, (...), nil
  end
  local iterator, shown = pairs(...)
  return iterator, shown, nil
end

-- What a function of Lua's returned, with a frame of ours behind it: see above.
local function passed(...)
  return ...
end

-- Lua 5.1 itself writes beyond its stack when the count of values overflows (CVE-2025-46817).
function visible.unpack(...)
  local list, from, to = ...
  from, to = tonumber(from) or 1, tonumber(to) or type(list) == 'table' and #list or 0
  if not (to - from < MANY_VALUES and from >= -2 ^ 31 and to < 2 ^ 31) then
    error('too many results to unpack')
  end
  return passed(unpack(...))
end

-- Scripts may start the collector; how it works is not theirs to say.
function visible.collectgarbage(option, ...)
  if option == 'stop' or option == 'restart' then
    return 0
  elseif option == 'setpause' or option == 'setstepmul' then
    return 200
  elseif option == nil or option == 'collect' then
    heed()
  end
  return passed(collectgarbage(option, ...))
end

-- Functions of scripts are called through xpcall, so that an error that a wrapper here raises names the line.
function visible.pcall(action, ...)
  if type(action) ~= 'function' or getfenv(action) ~= globals then
    return settled(pcall(action, ...))
  end
  local count = select('#', ...)
  if count == 0 then
    return settled(xpcall(action, placed))
  end
  local arguments = {...}
  return settled(xpcall(function() return action(unpack(arguments, 1, count)) end, placed))
end

local function left(ok, ...)
  pass_door(ok, ...)
  return ok, ...
end

function visible.xpcall(action, handler)
  return left(xpcall(action, function(failure)
    if type(failure) == 'userdata' then
      failure = as_error(failure)
    end
    return handler(placed(failure))
  end))
end

function visible.loadstring(text, name)
  if type(text) == 'number' then
    text = tostring(text)
  elseif type(text) ~= 'string' then
    error("bad argument #1 to 'loadstring' (string expected, got " .. (text == nil and 'no value' or type(text)) .. ')', 2)
  end
  return compile(text, name == nil and text or tostring(name))
end

function visible.load(reader, name)
  if type(reader) ~= 'function' then
    error("bad argument #1 to 'load' (function expected, got " .. (reader == nil and 'no value' or type(reader)) .. ')', 2)
  end
  local pieces = {}
  while true do
    heed()
    local ok, piece = xpcall(reader, on_error)
    if not ok then
      pass_door(ok, piece)
      return nil, piece
    elseif piece == nil or piece == '' then
      break
    elseif type(piece) ~= 'string' and type(piece) ~= 'number' then
      return nil, on_error('prelude:1: reader function must return a string')
    end
    insert(pieces, piece)
  end
  return compile(concat(pieces), name == nil and '=(load)' or tostring(name))
end

visible.__redis__err__handler = on_error

local threads = pick(coroutine, 'running status yield')

local function hooked(action)
  return function(...)
    install_hook()
    return action(...)
  end
end

local function resumed(thread, ok, failure, ...)
  pass_door(ok, failure)
  if not ok then
    if type(failure) == 'userdata' then
      failure = as_error(failure)
      pass_door(ok, failure)
    else
      failure = placed(failure, thread)
    end
  end
  return ok, failure, ...
end

function threads.create(action)
  local thread = create(type(action) == 'function' and hooked(action) or action)
  return thread
end

function threads.resume(...)
  return resumed((...), resume(...))
end

function threads.wrap(action)
  local resuming = wrap(type(action) == 'function' and hooked(action) or action)
  return resuming
end

visible.coroutine = frozen(threads)

local function is_less(one, other)
  return one < other
end

local tables = pick(table, 'concat foreach foreachi getn maxn remove setn')

function tables.insert(list, ...)
  if content[list] then
    error(READONLY, 0)
  end
  local at = ...
  if select('#', ...) == 2 and type(at) == 'number' and at < 1 - MANY_ITEMS then
    error("bad argument #2 to 'insert' (position out of bounds)")
  end
  insert(list, ...)
end

-- A long list is compared by Lua code, which can be interrupted.
function tables.sort(list, ...)
  if type(list) == 'table' and #list > MANY_ITEMS and (...) == nil then
    sort(list, is_less)
  else
    sort(list, ...)
  end
end

visible.table = frozen(tables)

local strings = pick(string, 'byte char dump format gfind len lower reverse sub upper')

local function check_search(text, pattern)
  if type(pattern) == 'string' and #pattern > COMPLEX and select(2, gsub(pattern, '[*+?()-]', '')) > COMPLEX then
    error('pattern too complex')
  elseif type(text) == 'string' and #text > LARGE then
    heed()
  end
end

function strings.find(...)
  check_search(...)
  return passed(find(...))
end

function strings.match(...)
  check_search(...)
  return passed(match(...))
end

function strings.gmatch(...)
  check_search(...)
  return passed(gmatch(...))
end

function strings.gsub(...)
  check_search(...)
  return passed(gsub(...))
end

function strings.rep(...)
  local text, count = ...
  if type(text) == 'string' and type(count) == 'number' then
    if text == '' then
      return ''
    elseif #text * count > LARGE then
      heed()
    end
  end
  return passed(rep(...))
end

visible.string = frozen(strings)
local of_strings = getmetatable('')
of_strings.__index = strings
of_strings.__metatable = frozen({__index = visible.string})

local numbers = pick(math, [[abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min
  mod modf pi pow rad sin sinh sqrt tan tanh]])
numbers.random, numbers.randomseed = host.random, host.random_seed
visible.math = frozen(numbers)

if host.newer then
  visible.os = frozen({clock = os.clock})
end

-- The `redis` table (`server` is its newer name) -----------------------------------------------------------------------

local constants = {
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
  REDIS_VERSION = host.version, REDIS_VERSION_NUM = host.version_number, log = host.log,
}
local api = {
  REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
  call = host.call, pcall = host.pcall, sha1hex = host.sha1hex, setresp = host.setresp, set_repl = host.set_repl,
  acl_check_cmd = host.acl_check_cmd,
}
for name, value in pairs(constants) do
  api[name] = value
end

local BAD_ARGUMENTS = 'ERR wrong number or type of arguments'

function api.error_reply(...)
  local text = ...
  if select('#', ...) ~= 1 or type(text) ~= 'string' then
    return {err = BAD_ARGUMENTS}
  end
  text = match(gsub(text, '%z.*', ''), '^%-?(.-)[\r\n]*$')
  return {err = find(text, ' ', 1, true) and text or 'ERR ' .. text}
end

function api.status_reply(...)
  local text = ...
  if select('#', ...) ~= 1 or type(text) ~= 'string' then
    return {err = BAD_ARGUMENTS}
  end
  return {ok = text}
end

if not functions then
  function api.breakpoint() return false end
  function api.debug() end
  function api.replicate_commands() return true end
end
visible.redis = frozen(api)
visible.server = visible.redis

return constants
