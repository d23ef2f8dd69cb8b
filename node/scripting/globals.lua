-- The globals of scripts. A part of the prelude: `own` are its tables and functions, `host` leads to Python.
--
-- Wrappers call what they wrap by its own name and not as a tail call, so that error texts name the function.
local host, functions, own = ...
local visible, content, metatables, frozen, READONLY = own.visible, own.content, own.metatables, own.frozen, own.READONLY
local compile, settled, on_error, as_error, install_hook = own.compile, own.settled, own.on_error, own.as_error, own.install_hook
local globals, waiting, install = own.globals, own.waiting, own.install
local error, type, tostring, select = error, type, tostring, select
local next, pairs, rawget, rawset = next, pairs, rawget, rawset
local pcall, xpcall = pcall, xpcall
local setmetatable, getmetatable = setmetatable, getmetatable
local insert, concat = table.insert, table.concat
local create, resume, wrap = coroutine.create, coroutine.resume, coroutine.wrap
local find, match, gsub = string.find, string.match, string.gsub

local function pick(from, names)
  local picked = {}
  for name in string.gmatch(names, '%S+') do
    picked[name] = from[name]
  end
  return picked
end

local base = pick(_G, '_VERSION assert collectgarbage error gcinfo ipairs rawequal select tonumber tostring type unpack')
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

function visible.pcall(...)
  return settled(pcall(...))
end

function visible.xpcall(action, handler)
  return xpcall(action, function(failure)
    if type(failure) == 'userdata' then
      failure = as_error(failure)
    end
    return handler(failure)
  end)
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
    local ok, piece = xpcall(reader, on_error)
    if not ok then
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

-- Hooks are per coroutine.
local function hooked(action)
  return function(...)
    install_hook()
    return action(...)
  end
end

local function resumed(ok, failure, ...)
  if not ok and type(failure) == 'userdata' then
    failure = as_error(failure)
  end
  return ok, failure, ...
end

function threads.create(action)
  local thread = create(type(action) == 'function' and hooked(action) or action)
  return thread
end

function threads.resume(...)
  return resumed(resume(...))
end

function threads.wrap(action)
  local resuming = wrap(type(action) == 'function' and hooked(action) or action)
  return resuming
end

visible.coroutine = frozen(threads)

local tables = pick(table, 'concat foreach foreachi getn maxn remove setn sort')
function tables.insert(list, ...)
  if content[list] then
    error(READONLY, 0)
  end
  insert(list, ...)
end
visible.table = frozen(tables)

local strings = pick(string, 'byte char dump find format gfind gmatch gsub len lower match rep reverse sub upper')
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
