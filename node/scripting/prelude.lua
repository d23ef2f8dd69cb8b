-- The sandbox's own code: it turns a plain Lua 5.1 world into the one that scripts see, and runs them in it.
--
-- Run once per world, with `host`: a table of C functions that lead to Python (engine.py), and `functions`: whether
-- this is the world of function libraries. Returns a table of what the engine calls. Scripts see copies of the standard
-- tables without the dangerous parts, behind proxies: an empty table whose metatable leads to the real content and
-- refuses writes. The real global table, `debug` and `python` stay here, as upvalues, which no script can reach.
--
-- A failure of a host function is raised as a Python object, the only userdata there is: every door through which a
-- script could see an error (pcall, xpcall, coroutines) turns it into the table that scripts expect.
local host, functions = ...
local error, type, tostring, select, unpack = error, type, tostring, select, unpack
local next, pairs, rawget, rawset = next, pairs, rawget, rawset
local pcall, xpcall = pcall, xpcall
local setmetatable, getmetatable, setfenv = setmetatable, getmetatable, setfenv
local loadstring, collectgarbage = loadstring, collectgarbage
local sethook, getinfo = debug.sethook, debug.getinfo
local insert, concat = table.insert, table.concat
local create, resume = coroutine.create, coroutine.resume
local byte, find, match, sub, gsub, format = string.byte, string.find, string.match, string.sub, string.gsub, string.format
local floor = math.floor

for name, value in pairs(host) do
  if type(value) == 'userdata' then
    host[name] = python.as_function(value)
  end
end

local OWN_SOURCE = getinfo(1, 'S').source
local OWN_POSITION = '^prelude:%d+: '
local READONLY = 'Attempt to modify a readonly table'
local HOOK_EVERY = 100000 -- instructions: a millisecond or less

-- Proxies ------------------------------------------------------------------------------------------------------------

local content = {} -- proxy -> the table it shows
local metatables = {} -- proxy -> what getmetatable says of it

local function refuse()
  error(READONLY, 2)
end

local function frozen(shown)
  local proxy = {}
  content[proxy] = shown
  return setmetatable(proxy, {__index = shown, __newindex = refuse})
end

local function missing(_, name)
  if type(name) ~= 'string' and type(name) ~= 'number' then
    error('Second argument to luaProtectedTableError must be a string or number', 2)
  end
  error("Script attempted to access nonexistent global variable '" .. name .. "'", 2)
end

local visible = setmetatable({}, {__index = missing}) -- the globals of scripts
local globals = frozen(visible) -- what scripts know as _G
metatables[globals] = frozen({__index = missing})

-- Errors -------------------------------------------------------------------------------------------------------------

-- What scripts get for an error of a host function: a table, or a text as Lua's own functions raise it.
local function as_error(failure, where)
  local message, counted, plain = host.describe(failure)
  if not message then
    return failure -- cjson.null, the only userdata that scripts have
  elseif plain then
    return (where or '') .. message
  end
  return {err = message, ignore_error_stats_update = counted or nil}
end

-- Whether a chunk is the sandbox's or a library's. Chunks of scripts are named by their text, by '@...' or '=(load)'.
local function is_ours(source)
  return byte(source, 1) == 61 and source ~= '=(load)'
end

-- What xpcall of a run calls: adds where in the script it happened.
local function on_error(failure)
  local level, frame = 2, getinfo(2, 'Sl')
  while frame and (frame.what == 'C' or frame.what == 'tail' or is_ours(frame.source)) do
    level = level + 1
    frame = getinfo(level, 'Sl')
  end
  local where = frame and frame.currentline > 0 and frame.short_src .. ':' .. frame.currentline .. ': ' or ''
  if type(failure) == 'userdata' then
    failure = as_error(failure, where)
  end
  if type(failure) ~= 'table' then
    local text = tostring(failure)
    if find(text, '(not a python object)', 1, true) then -- what lupa says when Lua's stack is full
      text = where .. 'too many arguments for one call'
    elseif find(text, OWN_POSITION) then -- raised by a C function that a wrapper of ours called
      text = where .. gsub(text, OWN_POSITION, '')
    end
    failure = {err = 'ERR ' .. text}
  end
  if frame then
    failure.source = frame.source
    failure.line = frame.currentline
  end
  return failure
end

-- What stock's pcall gives for an error table: its text.
local function settled(ok, failure, ...)
  if ok then
    return true, failure, ...
  end
  if type(failure) == 'userdata' then
    failure = as_error(failure)
  end
  if type(failure) == 'table' then
    local message = failure.err
    if type(message) == 'string' or type(message) == 'number' then
      failure = message
    end
  elseif type(failure) == 'string' then
    failure = gsub(failure, OWN_POSITION, '')
  end
  return false, failure
end

-- The time limit -----------------------------------------------------------------------------------------------------

local ending -- why the script under way must end

local function hook()
  if not ending then
    ending = host.interrupt() or nil
  end
  if ending then
    -- At every line from now on, or a script could catch the error with pcall and go on.
    sethook(hook, 'l')
    if getinfo(2, 'S').source ~= OWN_SOURCE then
      error({err = ending}, 0)
    end
  end
end

sethook(hook, '', HOOK_EVERY)

-- A run is over: the next one may run freely again. Without a hook meanwhile, which would ask about the old run again.
local function rearm()
  if ending then
    sethook()
    ending = nil
    sethook(hook, '', HOOK_EVERY)
  end
end

-- Replies ------------------------------------------------------------------------------------------------------------

local NULL, TRUE, FALSE = '$-1\r\n', ':1\r\n', '$-1\r\n'
local resp3, script_resp3 = false, false
local MAX_DEPTH = 7994
-- Headers of bulk strings by length: to write a number takes as long as all else about a short string.
local HEADERS = setmetatable({}, {__index = function(headers, length)
  local header = '$' .. length .. '\r\n'
  if length < 1024 then
    headers[length] = header
  end
  return header
end})
local out, size, put = nil, 0, nil

local function one_line(text)
  local stop = find(text, '%z')
  if stop then
    text = sub(text, 1, stop - 1)
  end
  if find(text, '[\r\n]') then
    text = gsub(text, '[\r\n]', ' ')
  end
  return text
end

local function put_double(value)
  local text = (value == 1 / 0 and 'inf') or (value == -1 / 0 and '-inf') or format('%.17g', value)
  return resp3 and ',' .. text .. '\r\n' or '$' .. #text .. '\r\n' .. text .. '\r\n'
end

local function put_text(value)
  local text, kind = rawget(value, 'string'), rawget(value, 'format')
  if type(text) ~= 'string' or type(kind) ~= 'string' then
    return nil
  end
  if not resp3 then
    return '$' .. #text .. '\r\n' .. text .. '\r\n'
  end
  return '=' .. #text + 4 .. '\r\n' .. sub(one_line(kind) .. '   ', 1, 3) .. ':' .. text .. '\r\n'
end

-- The reply that a table with one of the special fields stands for, or nil.
local function special(value)
  local field = rawget(value, 'err')
  if type(field) == 'string' then
    if rawget(value, 'ignore_error_stats_update') ~= true then
      host.count_error(field)
    end
    return '-' .. one_line(field) .. '\r\n'
  end
  field = rawget(value, 'ok')
  if type(field) == 'string' then
    return '+' .. one_line(field) .. '\r\n'
  end
  field = rawget(value, 'double')
  if type(field) == 'number' then
    return put_double(field)
  end
  field = rawget(value, 'big_number')
  if type(field) == 'string' then
    field = gsub(field, '[\r\n]', ' ')
    return resp3 and '(' .. field .. '\r\n' or '$' .. #field .. '\r\n' .. field .. '\r\n'
  end
  field = rawget(value, 'verbatim_string')
  return type(field) == 'table' and put_text(field) or nil
end

local function put_map(map, depth)
  size = size + 1
  local at, count = size, 0
  for key, value in next, map do
    put(key, depth)
    put(value, depth)
    count = count + 1
  end
  out[at] = resp3 and '%' .. count .. '\r\n' or '*' .. 2 * count .. '\r\n'
end

local function put_set(set, depth)
  size = size + 1
  local at, count = size, 0
  for key in next, set do
    put(key, depth)
    count = count + 1
  end
  out[at] = (resp3 and '~' or '*') .. count .. '\r\n'
end

local function put_table(value, depth)
  local reply = special(value)
  if reply then
    size = size + 1
    out[size] = reply
    return
  end
  local field = rawget(value, 'map')
  if type(field) == 'table' then
    return put_map(field, depth + 2)
  end
  field = rawget(value, 'set')
  if type(field) == 'table' then
    return put_set(field, depth + 2)
  end
  size = size + 1
  local at, count = size, 0
  local item = rawget(value, 1)
  while item ~= nil do
    if type(item) == 'string' then
      size = size + 1
      out[size] = HEADERS[#item] .. item .. '\r\n'
    else
      put(item, depth + 1)
    end
    count = count + 1
    item = rawget(value, count + 1)
  end
  out[at] = '*' .. count .. '\r\n'
end

function put(value, depth)
  local kind = type(value)
  if depth > MAX_DEPTH then
    size = size + 1
    out[size] = '-ERR reached lua stack limit\r\n'
  elseif kind == 'table' then
    put_table(value, depth)
  else
    size = size + 1
    if kind == 'string' then
      out[size] = HEADERS[#value] .. value .. '\r\n'
    elseif kind == 'number' then
      out[size] = format(':%d\r\n', value)
    elseif kind == 'boolean' then
      out[size] = value and TRUE or FALSE
    else
      out[size] = NULL
    end
  end
end

-- A table as RESP. `true` behind it tells the engine that it needs no encoding.
local function wire(value)
  if script_resp3 then
    TRUE, FALSE = resp3 and '#t\r\n' or ':1\r\n', resp3 and '#f\r\n' or ':0\r\n'
  else
    TRUE, FALSE = ':1\r\n', NULL
  end
  out, size = {}, 0
  put(value, 1)
  local reply = concat(out)
  out = nil
  return reply, true
end

-- What a run returns to the engine: a plain value; RESP and true; or nil, false and what is known of an error.
local function result(ok, value)
  rearm()
  local kind = type(value)
  if not ok then
    if kind ~= 'table' then
      return nil, false, tostring(value)
    end
    local message = value.err
    if type(message) ~= 'string' and type(message) ~= 'number' then
      message = 'ERR unknown error'
    end
    local line, source = value.line, value.source
    return nil, false, nil, tostring(message), source and tostring(source), line and tostring(line),
      value.ignore_error_stats_update == true
  end
  if kind == 'table' and not content[value] then
    local message = rawget(value, 'err')
    if type(message) == 'string' then
      return nil, false, nil, message, nil, nil, value.ignore_error_stats_update == true
    end
    local status = rawget(value, 'ok')
    if type(status) == 'string' then
      return '+' .. one_line(status) .. '\r\n', true
    end
    return wire(value)
  end
  if kind == 'boolean' and script_resp3 then
    return wire(value)
  end
  if kind == 'string' or kind == 'number' or kind == 'boolean' then
    return value
  end
  if content[value] then
    return wire({})
  end
  return nil
end

-- Runs ---------------------------------------------------------------------------------------------------------------

local function split(count, ...)
  local keys, args = {...}, {}
  for i = count + 1, #keys do
    args[i - count] = keys[i]
    keys[i] = nil
  end
  return keys, args
end

local function split_one(key, ...)
  return {key}, {...}
end

local function keys_and_args(count, ...)
  if count == 0 then
    return {}, {...}
  elseif count == 1 then
    return split_one(...)
  end
  return split(count, ...)
end

local function prepare(client_resp3)
  script_resp3 = false
  if client_resp3 ~= resp3 then
    resp3 = client_resp3
    NULL = resp3 and '_\r\n' or '$-1\r\n'
  end
end

local function run_script(script, client_resp3, count, ...)
  prepare(client_resp3)
  visible.KEYS, visible.ARGV = keys_and_args(count, ...)
  return result(xpcall(script, on_error))
end

local function run_function(callback, client_resp3, count, ...)
  prepare(client_resp3)
  local keys, args = keys_and_args(count, ...)
  return result(xpcall(function() return callback(keys, args) end, on_error))
end

-- Too many arguments for Lua's stack come as tables.
local function run_script_with(script, client_resp3, keys, args)
  prepare(client_resp3)
  visible.KEYS, visible.ARGV = keys, args
  return result(xpcall(script, on_error))
end

local function run_function_with(callback, client_resp3, keys, args)
  prepare(client_resp3)
  return result(xpcall(function() return callback(keys, args) end, on_error))
end

-- A function, or nil and why the text is none. Bytecode is text that no script may run: it could do anything.
local function compile(text, name)
  if byte(text, 1) == 27 then
    return nil, (find(name, '^@') and sub(name, 2) or '[string "' .. name .. '"]')
      .. ":1: unexpected symbol near 'char(27)'"
  end
  local script, message = loadstring(text, name)
  if not script then
    return nil, message
  end
  return setfenv(script, globals)
end

-- What scripts see ---------------------------------------------------------------------------------------------------

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
  local value = rawget(content[shown] or shown, name)
  return value
end

local function next_shown(shown, name)
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
    sethook(hook, '', HOOK_EVERY)
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

local wrap = coroutine.wrap
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

-- Libraries of Python (libraries/): their global tables, with C functions where Python functions stand.
for _, name in pairs({'cjson', 'cmsgpack', 'struct', 'bit'}) do
  local library = rawget(_G, name)
  if type(library) == 'table' then
    visible[name] = frozen(library)
  end
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

-- While a library is loaded it sees the means to register functions, and nothing else.
local loading = setmetatable({register_function = host.register_function}, {__index = missing})
for name, value in pairs(constants) do
  loading[name] = value
end
local loading_api = frozen(loading)
local while_loading = setmetatable({redis = loading_api, server = loading_api}, {__index = missing})

local function show(shown)
  content[globals] = shown
  getmetatable(globals).__index = shown
end

local function load_library(text)
  local library, message = compile(text, '@user_function')
  if not library then
    return nil, false, 'Error compiling function: ' .. message
  end
  show(while_loading)
  local ok, failure = pcall(library)
  show(visible)
  rearm()
  if ok then
    return true
  end
  if type(failure) == 'userdata' then
    failure = as_error(failure)
  end
  local reason = type(failure) == 'table' and failure.err
  if not reason then
    reason = 'ERR ' .. gsub(tostring(failure), OWN_POSITION, '')
  end
  return nil, false, 'Error registering functions: ' .. reason
end

return {
  compile = compile,
  run = functions and run_function or run_script,
  run_with = functions and run_function_with or run_script_with,
  load_library = load_library,
  set_resp3 = function(on) script_resp3 = on end,
  status_table = function(text) return {ok = text} end,
  error_table = function(text, counted) return {err = text, ignore_error_stats_update = counted or nil} end,
  to_text = tostring,
  bytes_used = function() return collectgarbage('count') * 1024 end,
}
