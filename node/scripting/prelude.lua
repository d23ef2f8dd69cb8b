-- The sandbox's own code: it turns a plain Lua 5.1 world into the one that scripts see, and runs them in it.
-- Two parts are files of their own: globals.lua, what scripts see, and replies.lua, what they return.
--
-- Run once per world, with `host`: a table of C functions that lead to Python (engine.py), and `functions`: whether
-- this is the world of function libraries. Returns a table of what the engine calls. Scripts see copies of the standard
-- tables without the dangerous parts, behind proxies: an empty table whose metatable leads to the real content and
-- refuses writes. The real global table, `debug` and `python` stay here, as upvalues, which no script can reach.
--
-- A failure of a host function is raised as a Python object, the only userdata there is: every door through which a
-- script could see an error (pcall, xpcall, coroutines) turns it into the table that scripts expect.
local host, functions = ...
local error, type, tostring, pairs, pcall, xpcall = error, type, tostring, pairs, pcall, xpcall
local setmetatable, getmetatable, setfenv = setmetatable, getmetatable, setfenv
local loadstring, collectgarbage = loadstring, collectgarbage
local sethook, getinfo = debug.sethook, debug.getinfo
local byte, find, sub, gsub = string.byte, string.find, string.sub, string.gsub

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

local visible -- the globals of scripts
local waiting = {cjson = true, cmsgpack = true, struct = true, bit = true} -- libraries that nobody has used yet

-- Most scripts use none of the libraries, which take more memory than all else together.
local function install(name)
  waiting[name] = nil
  host.install(name)
  visible[name] = frozen(_G[name])
  return visible[name]
end

local function missing(shown, name)
  if waiting[name] and shown == visible then
    return install(name)
  elseif type(name) ~= 'string' and type(name) ~= 'number' then
    error('Second argument to luaProtectedTableError must be a string or number', 2)
  end
  error("Script attempted to access nonexistent global variable '" .. name .. "'", 2)
end

visible = setmetatable({}, {__index = missing})
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

local function install_hook()
  sethook(hook, '', HOOK_EVERY)
end

install_hook()

-- A run is over: the next one may run freely again. Without a hook meanwhile, which would ask about the old run again.
local function rearm()
  if ending then
    sethook()
    ending = nil
    install_hook()
  end
end

-- Runs ---------------------------------------------------------------------------------------------------------------

-- The other parts of the prelude, under its name: the sandbox's own code is told from a script's by that.
local function part(text)
  return loadstring(text, '=prelude')
end

local replies = part(host.replies)(host, content)
local begin, reply = replies.begin, replies.reply

-- What a run returns to the engine: see `reply` in replies.lua.
local function result(ok, value)
  rearm()
  if ok then
    return reply(value)
  elseif type(value) ~= 'table' then
    return nil, false, tostring(value)
  end
  local message, line, source = value.err, value.line, value.source
  if type(message) ~= 'string' and type(message) ~= 'number' then
    message = 'ERR unknown error'
  end
  return nil, false, nil, tostring(message), source and tostring(source), line and tostring(line),
    value.ignore_error_stats_update == true
end

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

local function run_script(script, client_resp3, count, ...)
  begin(client_resp3)
  visible.KEYS, visible.ARGV = keys_and_args(count, ...)
  return result(xpcall(script, on_error))
end

local function run_function(callback, client_resp3, count, ...)
  begin(client_resp3)
  local keys, args = keys_and_args(count, ...)
  return result(xpcall(function() return callback(keys, args) end, on_error))
end

-- Too many arguments for Lua's stack come as tables.
local function run_script_with(script, client_resp3, keys, args)
  begin(client_resp3)
  visible.KEYS, visible.ARGV = keys, args
  return result(xpcall(script, on_error))
end

local function run_function_with(callback, client_resp3, keys, args)
  begin(client_resp3)
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

-- Libraries -----------------------------------------------------------------------------------------------------------

local constants = part(host.globals)(host, functions, {
  visible = visible, globals = globals, content = content, metatables = metatables, frozen = frozen,
  READONLY = READONLY, compile = compile, settled = settled, on_error = on_error, as_error = as_error,
  install_hook = install_hook, waiting = waiting, install = install,
})

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

host.replies, host.globals = nil, nil
collectgarbage()

return {
  compile = compile,
  run = functions and run_function or run_script,
  run_with = functions and run_function_with or run_script_with,
  load_library = load_library,
  set_resp3 = replies.set_resp3,
  status_table = function(text) return {ok = text} end,
  error_table = function(text, counted) return {err = text, ignore_error_stats_update = counted or nil} end,
  to_text = tostring,
  bytes_used = function() return collectgarbage('count') * 1024 end,
}
