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
local setmetatable, getmetatable, setfenv, getfenv = setmetatable, getmetatable, setfenv, getfenv
local loadstring, collectgarbage = loadstring, collectgarbage
local sethook, getinfo = debug.sethook, debug.getinfo
local byte, find, sub, gsub, match = string.byte, string.find, string.sub, string.gsub, string.match

for name, value in pairs(host) do
  if type(value) == 'userdata' then
    host[name] = python.as_function(value)
  end
end

local OWN_POSITION = '^prelude:%d+: '
local READONLY = 'Attempt to modify a readonly table'
local NO_MEMORY = 'not enough memory' -- what Lua itself raises
local HOOK_EVERY = 10000 -- instructions: a tenth of a millisecond, unless each of them handles a huge string
local LONGEST_CHUNK = 2 ^ 26 -- bytes: Lua's reader counts with 32 bits, and cannot be interrupted
local DEEPEST_SEARCH = 8000 -- levels of the stack that are searched for the place of an error

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

local hook, as_error, placed -- see below

local only_lines = setmetatable({}, {__mode = 'k'}) -- script -> its line, if there is only one
local current -- the script under way

-- The innermost frame of a script, from a level of the stack on: a chunk of a script is told from ours by its environment,
-- as it may have any name. Tail calls may have left any number of levels, so the search has an end. Where they have left
-- none of the script, its only line is the one.
local function script_frame(from, thread)
  for level = from, DEEPEST_SEARCH do
    local frame
    if thread then
      frame = getinfo(thread, level, 'Slf')
    else
      frame = getinfo(level, 'Slf')
    end
    if not frame then
      break
    elseif frame.what ~= 'C' and frame.what ~= 'tail' and getfenv(frame.func) == globals then
      return frame
    end
  end
  local line = current and only_lines[current]
  return line and {source = '@user_script', short_src = 'user_script', currentline = line}
end

local function place(frame)
  return frame and frame.currentline > 0 and frame.short_src .. ':' .. frame.currentline .. ': ' or ''
end

-- What xpcall of a run calls: adds where in the script it happened.
local function on_error(failure)
  local frame = script_frame(3)
  local where = place(frame)
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

-- Ending a run --------------------------------------------------------------------------------------------------------

local running = false -- whether code of a script is on the stack
local ending -- why the run under way must end
local shielded = {} -- functions of ours that do their work to the end

-- The run must end: at every line from now on, or a script could catch the error with pcall and go on.
local function end_run(why)
  ending = why
  sethook(hook, 'l')
end

-- Hooks are per coroutine.
local function install_hook()
  if ending then
    sethook(hook, 'l')
  else
    sethook(hook, '', HOOK_EVERY)
  end
end

function hook(event)
  if not ending then
    ending = host.interrupt() or nil
  end
  if ending and running then
    sethook(hook, 'l')
    if not shielded[getinfo(2, 'f').func] then
      error({err = ending}, 0)
    end
  elseif event == 'line' then -- of a coroutine that an earlier run left behind
    install_hook()
  end
end

install_hook()

-- A function of ours is about to work for long without an instruction of Lua.
local function heed()
  if not ending then
    ending = host.interrupt() or nil
  end
  if ending then
    sethook(hook, 'l')
    error({err = ending}, 0)
  end
end

-- A run is over: the next one may run freely again. Without a hook meanwhile, which would ask about the old run again.
local function rearm()
  running = false
  if ending then
    sethook()
    ending = nil
    install_hook()
  end
end

-- What scripts get for an error of a host function: a table, or a text as Lua's own functions raise it.
function as_error(failure, where)
  local message, counted, plain, final = host.describe(failure)
  if not message then
    return failure -- cjson.null, the only userdata that scripts have
  elseif plain then
    return (where or '') .. message
  elseif final then
    end_run(message)
  end
  return {err = message, ignore_error_stats_update = counted or nil}
end

-- Behind every door through which a script could see an error and go on.
local function pass_door(ok, failure)
  if not ok and failure == NO_MEMORY and not ending then
    end_run(host.exhausted())
  end
  if ending and running then
    sethook(hook, 'l')
    error({err = ending}, 0)
  end
end

-- What stock's pcall gives for an error table: its text.
local function settled(ok, failure, ...)
  pass_door(ok, failure)
  if ok then
    return true, failure, ...
  end
  if type(failure) == 'userdata' then
    failure = as_error(failure)
    pass_door(ok, failure)
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

-- The handler behind pcall: a text that a C function raised in a wrapper of ours names the script's line. `thread`: the
-- coroutine that ended with it.
function placed(failure, thread)
  if type(failure) == 'string' and find(failure, OWN_POSITION) then
    return place(script_frame(thread and 0 or 3, thread)) .. gsub(failure, OWN_POSITION, '')
  end
  return failure
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
  running = false
  if not ok and value == NO_MEMORY then
    value = {err = host.exhausted()}
  end
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
  current, running = script, true
  return result(xpcall(script, on_error))
end

local function run_function(callback, client_resp3, count, ...)
  begin(client_resp3)
  local keys, args = keys_and_args(count, ...)
  running = true
  return result(xpcall(function() return callback(keys, args) end, on_error))
end

-- Too many arguments for Lua's stack come as tables.
local function run_script_with(script, client_resp3, keys, args)
  begin(client_resp3)
  visible.KEYS, visible.ARGV = keys, args
  current, running = script, true
  return result(xpcall(script, on_error))
end

local function run_function_with(callback, client_resp3, keys, args)
  begin(client_resp3)
  running = true
  return result(xpcall(function() return callback(keys, args) end, on_error))
end

-- A function, or nil and why the text is none. Bytecode is text that no script may run: it could do anything. Lua's
-- compiler holds on to the name of a chunk, but only up to a NUL, by a string that the collector may take
-- (CVE-2025-49844): the very string must be ours as well, from before it starts until it is done.
local function compile(text, name)
  name = match(name, '^[^%z]*')
  if #text > LONGEST_CHUNK then
    return nil, 'chunk is too long'
  end
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

local function compile_script(text)
  local script, message = compile(text, '@user_script')
  if not script then
    return nil, message
  end
  local before = match(text, '^(\n*)[^\n]*\n*$')
  if before then
    only_lines[script] = #before + 1
  end
  return script
end

-- Libraries -----------------------------------------------------------------------------------------------------------

local constants = part(host.globals)(host, functions, {
  visible = visible, globals = globals, content = content, metatables = metatables, frozen = frozen,
  READONLY = READONLY, waiting = waiting, install = install, compile = compile,
  settled = settled, placed = placed, on_error = on_error, as_error = as_error, pass_door = pass_door, heed = heed,
  install_hook = install_hook,
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
  running = true
  local ok, failure = pcall(library)
  running = false
  show(visible)
  if not ok and failure == NO_MEMORY then
    failure = {err = host.exhausted()}
  end
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

for _, ours in ipairs({
  script_frame, place, on_error, as_error, placed, end_run, result, rearm, install_hook, load_library,
  run_script, run_function, run_script_with, run_function_with,
}) do
  shielded[ours] = true
end

host.replies, host.globals = nil, nil
collectgarbage()

return {
  compile = compile_script,
  run = functions and run_function or run_script,
  run_with = functions and run_function_with or run_script_with,
  load_library = load_library,
  rearm = rearm,
  set_resp3 = replies.set_resp3,
  status_table = function(text) return {ok = text} end,
  error_table = function(text, counted) return {err = text, ignore_error_stats_update = counted or nil} end,
  to_text = tostring,
  bytes_used = function() return collectgarbage('count') * 1024 end,
}
