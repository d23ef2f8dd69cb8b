-- What a script returns, as a reply. A part of the prelude: `host` leads to Python, `content` knows the proxies.
--
-- Tables become RESP here, in Lua: it takes a tenth of the time that Python would need to look into every table.
local host, content = ...
local rawget, next, type, setmetatable = rawget, next, type, setmetatable
local concat = table.concat
local find, sub, gsub, format = string.find, string.sub, string.gsub, string.format

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

-- Replies look as the client's protocol wants them; a new run starts in RESP2.
local function begin(client_resp3)
  script_resp3 = false
  if client_resp3 ~= resp3 then
    resp3 = client_resp3
    NULL = resp3 and '_\r\n' or '$-1\r\n'
  end
end

-- A plain value; or RESP and true; or nil, false and what is known of an error.
local function reply(value)
  local kind = type(value)
  if kind == 'table' then
    if content[value] then
      return wire({})
    end
    local text = rawget(value, 'err')
    if type(text) == 'string' then
      return nil, false, nil, text, nil, nil, rawget(value, 'ignore_error_stats_update') == true
    end
    text = rawget(value, 'ok')
    if type(text) == 'string' then
      return '+' .. one_line(text) .. '\r\n', true
    end
    return wire(value)
  elseif kind == 'boolean' and script_resp3 then
    return wire(value)
  elseif kind == 'string' or kind == 'number' or kind == 'boolean' then
    return value
  end
  return nil
end

return {
  begin = begin,
  reply = reply,
  set_resp3 = function(on) script_resp3 = on end,
}
