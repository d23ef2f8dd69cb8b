-- The encoder of the cjson library. Arguments: the shared code, the value that stands for null. Returns a function that
-- makes an `encode` for a table of options.

local shared, null = ...
local fail, bad_argument, to_int32, STACK_SLOTS = shared.fail, shared.bad_argument, shared.to_int32, shared.STACK_SLOTS
local char, find, format, gsub = string.char, string.find, string.format, string.gsub
local concat, floor, next, rawget, select, type = table.concat, math.floor, next, rawget, select, type

local ESCAPED = {}
for code = 0, 31 do
    ESCAPED[char(code)] = format("\\u%04x", code)
end
ESCAPED["\127"] = "\\u007f"
ESCAPED["\b"], ESCAPED["\t"], ESCAPED["\n"], ESCAPED["\f"], ESCAPED["\r"] = "\\b", "\\t", "\\n", "\\f", "\\r"
ESCAPED['"'], ESCAPED["\\"], ESCAPED["/"] = '\\"', "\\\\", "\\/"

local function quote(text)
    if find(text, '[%c"\\/]') then
        text = gsub(text, '[%c"\\/]', ESCAPED)
    end
    return '"' .. text .. '"'
end

-- A number as text, or as itself where the final `concat` would write it just so (it knows but 14 digits).
local function encode_number(options, number)
    if number - number ~= 0 then -- infinite, or not a number
        if options.encode_invalid_numbers == "off" then
            fail("Cannot serialise number: must not be NaN or Inf")
        elseif options.encode_invalid_numbers == "null" then
            return "null"
        elseif number ~= number then
            return "nan"
        end
    elseif options.number_precision == 14 then
        return number
    end
    return format(options.number_format, number)
end

-- The largest key of an array, or -1 for a table that must become an object. Indexes count in 32 bits: a larger one is,
-- as it is for the processor, the smallest integer, and never ends an array.
local function array_length(options, value)
    local largest, count = 0, 0
    for key in next, value do
        if type(key) ~= "number" or key < 1 or floor(key) ~= key then
            return -1
        end
        if key > largest then
            largest = key < 2147483648 and key or -2147483648
        end
        count = count + 1
    end
    local ratio = options.sparse_ratio
    if largest > options.sparse_safe and ratio > 0 and largest > to_int32(count * ratio) then
        if not options.sparse_convert then
            fail("Cannot serialise table: excessively sparse array")
        end
        return -1
    end
    return largest
end

local append

-- Put the text of `value` behind `out[size]`; return the new size. `slots`: the stack that the original would use.
local function append_table(options, out, size, value, depth, slots)
    if depth > options.encode_max_depth or slots + 3 > STACK_SLOTS then
        fail(format("Cannot serialise, excessive nesting (%d)", depth))
    end
    local length = array_length(options, value)
    if length > 0 then
        size = size + 1
        out[size] = "["
        for index = 1, length do
            size = append(options, out, size, rawget(value, index), depth, slots + 1) + 1
            out[size] = ","
        end
        out[size] = "]" -- in the place of the last comma
        return size
    elseif next(value) == nil then
        out[size + 1] = "{}"
        return size + 1
    end
    size = size + 1
    out[size] = "{"
    for key, item in next, value do
        if type(key) == "string" then
            out[size + 1] = quote(key)
        elseif type(key) == "number" then
            out[size + 1] = '"' .. encode_number(options, key) .. '"'
        else
            fail("Cannot serialise " .. type(key) .. ": table key must be a number or string")
        end
        out[size + 2] = ":"
        size = append(options, out, size + 2, item, depth, slots + 2) + 1
        out[size] = ","
    end
    out[size] = "}"
    return size
end

function append(options, out, size, value, depth, slots)
    local kind = type(value)
    if kind == "string" then
        out[size + 1] = quote(value)
    elseif kind == "number" then
        out[size + 1] = encode_number(options, value)
    elseif kind == "table" then
        return append_table(options, out, size, value, depth + 1, slots)
    elseif value == nil or value == null then
        out[size + 1] = "null"
    elseif kind == "boolean" then
        out[size + 1] = value and "true" or "false"
    else
        fail("Cannot serialise " .. kind .. ": type not supported")
    end
    return size + 1
end

local function encoder(options)
    return function(...)
        if select("#", ...) ~= 1 then
            bad_argument(1, "expected 1 argument")
        end
        local out = {}
        local size = append(options, out, 0, (...), 0, 1)
        return concat(out, "", 1, size)
    end
end

return encoder
