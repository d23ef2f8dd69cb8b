-- The cmsgpack library. Argument: the shared code.

local shared = ...
local fail, bad_argument, publish, spread = shared.fail, shared.bad_argument, shared.publish, shared.spread
local check_string, check_integer, to_int32 = shared.check_string, shared.check_integer, shared.to_int32
local big_endian, double_words, double_from_words = shared.big_endian, shared.double_words, shared.double_from_words
local single_word, single_from_word, STACK_SLOTS = shared.single_word, shared.single_from_word, shared.STACK_SLOTS
local byte, char, format, sub = string.byte, string.char, string.format, string.sub
local concat, error, floor, next, rawget, select, type = table.concat, error, math.floor, next, rawget, select, type

local WORD = 4294967296

local MAX_NESTING = 16

local function pack_integer(number)
    if number >= 0 then
        if number < 0x80 then
            return char(number)
        elseif number < 0x100 then
            return char(0xCC, number)
        elseif number < 0x10000 then
            return char(0xCD, floor(number / 256), number % 256)
        elseif number < WORD then
            return "\206" .. big_endian(number)
        end
        return "\207" .. big_endian(floor(number / WORD)) .. big_endian(number % WORD)
    elseif number >= -0x20 then
        return char(number + 0x100)
    elseif number >= -0x80 then
        return char(0xD0, number + 0x100)
    elseif number >= -0x8000 then
        return char(0xD1, floor(number / 256) + 0x100, number % 256)
    elseif number >= -0x80000000 then
        return "\210" .. big_endian(number + WORD)
    end
    return "\211" .. big_endian(floor(number / WORD) + WORD) .. big_endian(number % WORD)
end

local function pack_number(number)
    if floor(number) == number and number >= -2 ^ 63 and number < 2 ^ 63 then
        return pack_integer(number)
    end
    local single = single_word(number)
    if single_from_word(single) == number then
        return "\202" .. big_endian(single)
    end
    local high, low = double_words(number)
    return "\203" .. big_endian(high) .. big_endian(low)
end

local function string_header(length)
    if length < 32 then
        return char(0xA0 + length)
    elseif length < 0x100 then
        return char(0xD9, length)
    elseif length < 0x10000 then
        return char(0xDA, floor(length / 256), length % 256)
    end
    return "\219" .. big_endian(length)
end

-- The header of an array or a map: `short` and a small count in one byte, else `long` (or the next code) and the count.
local function table_header(short, long, count)
    if count < 16 then
        return char(short + count)
    elseif count < 0x10000 then
        return char(long, floor(count / 256), count % 256)
    end
    return char(long + 1) .. big_endian(count)
end

-- How many entries there are, and whether their keys are exactly 1..count.
local function measure(value)
    local count, largest, is_array = 0, 0, true
    for key in next, value do
        count = count + 1
        if is_array then
            if type(key) == "number" and key > 0 and key < 2147483648 and floor(key) == key then
                largest = key > largest and key or largest
            else
                is_array = false
            end
        end
    end
    return count, is_array and largest == count
end

local function pack_value(out, size, value, level)
    local kind = type(value)
    if kind == "string" then
        out[size + 1] = string_header(#value)
        out[size + 2] = value
        return size + 2
    elseif kind == "table" and level < MAX_NESTING then
        local count, is_array = measure(value)
        size = size + 1
        if is_array then
            out[size] = table_header(0x90, 0xDC, count)
            for index = 1, count do
                size = pack_value(out, size, rawget(value, index), level + 1)
            end
        else
            out[size] = table_header(0x80, 0xDE, count)
            for key, item in next, value do
                size = pack_value(out, size, key, level + 1)
                size = pack_value(out, size, item, level + 1)
            end
        end
        return size
    elseif kind == "number" then
        out[size + 1] = pack_number(value)
    elseif kind == "boolean" then
        out[size + 1] = value and "\195" or "\194"
    else
        out[size + 1] = "\192"
    end
    return size + 1
end

local function pack(...)
    local count = select("#", ...)
    if count == 0 then
        bad_argument(0, "MessagePack pack needs input.")
    elseif 2 * count > STACK_SLOTS then
        bad_argument(0, "Too many arguments for MessagePack pack.")
    end
    local arguments, out, size = { ... }, {}, 0
    for number = 1, count do
        size = pack_value(out, size, arguments[number], 0)
    end
    return concat(out, "", 1, size)
end

local function missing_bytes()
    fail("Missing bytes in input.")
end

-- The unsigned integers of 8, 16 and 32 bits at `at`.
local function read_8(text, at)
    return byte(text, at) or missing_bytes()
end

local function read_16(text, at)
    local a, b = byte(text, at, at + 1)
    if not b then
        missing_bytes()
    end
    return a * 256 + b
end

local function read_32(text, at)
    local a, b, c, d = byte(text, at, at + 3)
    if not d then
        missing_bytes()
    end
    return ((a * 256 + b) * 256 + c) * 256 + d
end

local function read_bytes(text, at, length)
    if at + length - 1 > #text then
        missing_bytes()
    end
    return sub(text, at, at + length - 1), at + length
end

local unpack_value

-- `slots`: the stack that the original would use (see the shared code).
local function unpack_array(text, at, count, slots)
    if slots + 2 > STACK_SLOTS then
        fail("stack overflow (in function mp_decode_to_lua_array)")
    end
    local array = {}
    for index = 1, count do
        array[index], at = unpack_value(text, at, slots + 2)
    end
    return array, at
end

local function unpack_map(text, at, count, slots)
    local map = {}
    for _ = 1, count do
        local key, value
        key, at = unpack_value(text, at, slots + 1)
        value, at = unpack_value(text, at, slots + 2)
        if key == nil then
            error("table index is nil", 0)
        elseif key ~= key then
            error("table index is NaN", 0)
        end
        map[key] = value
    end
    return map, at
end

-- What the codes 0xC0..0xDF mean; `at` is behind the code. Each returns the value and the position behind it.
local READERS = {
    [0xC0] = function(_, at)
        return nil, at
    end,
    [0xC2] = function(_, at)
        return false, at
    end,
    [0xC3] = function(_, at)
        return true, at
    end,
    [0xCA] = function(text, at)
        return single_from_word(read_32(text, at)), at + 4
    end,
    [0xCB] = function(text, at)
        read_bytes(text, at, 8)
        return double_from_words(read_32(text, at), read_32(text, at + 4)), at + 8
    end,
    [0xCC] = function(text, at)
        return read_8(text, at), at + 1
    end,
    [0xCD] = function(text, at)
        return read_16(text, at), at + 2
    end,
    [0xCE] = function(text, at)
        return read_32(text, at), at + 4
    end,
    [0xD0] = function(text, at)
        local value = read_8(text, at)
        return value < 0x80 and value or value - 0x100, at + 1
    end,
    [0xD1] = function(text, at)
        local value = read_16(text, at)
        return value < 0x8000 and value or value - 0x10000, at + 2
    end,
    [0xD2] = function(text, at)
        return to_int32(read_32(text, at)), at + 4
    end,
    [0xD3] = function(text, at)
        read_bytes(text, at, 8)
        return to_int32(read_32(text, at)) * WORD + read_32(text, at + 4), at + 8
    end,
    [0xD9] = function(text, at)
        return read_bytes(text, at + 1, read_8(text, at))
    end,
    [0xDA] = function(text, at)
        return read_bytes(text, at + 2, read_16(text, at))
    end,
    [0xDB] = function(text, at)
        return read_bytes(text, at + 4, read_32(text, at))
    end,
    [0xDC] = function(text, at, slots)
        return unpack_array(text, at + 2, read_16(text, at), slots)
    end,
    [0xDD] = function(text, at, slots)
        return unpack_array(text, at + 4, read_32(text, at), slots)
    end,
    [0xDE] = function(text, at, slots)
        return unpack_map(text, at + 2, read_16(text, at), slots)
    end,
    [0xDF] = function(text, at, slots)
        return unpack_map(text, at + 4, read_32(text, at), slots)
    end,
}
READERS[0xCF] = READERS[0xD3] -- the original pushes it as a signed integer

function unpack_value(text, at, slots)
    local code = byte(text, at)
    if not code then
        missing_bytes()
    elseif slots + 1 > STACK_SLOTS then
        fail("stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)")
    elseif code < 0x80 then
        return code, at + 1
    elseif code < 0x90 then
        return unpack_map(text, at + 1, code - 0x80, slots)
    elseif code < 0xA0 then
        return unpack_array(text, at + 1, code - 0x90, slots)
    elseif code < 0xC0 then
        return read_bytes(text, at + 1, code - 0xA0)
    elseif code >= 0xE0 then
        return code - 0x100, at + 1
    end
    local reader = READERS[code]
    if not reader then
        fail("Bad data format in input.")
    end
    return reader(text, at + 1, slots)
end

-- Values from `offset` on, at most `limit`; then how many, and where the next one starts (-1: at the end).
local function unpack_some(text, limit, offset, slots)
    local length = #text
    if offset < 0 or limit < 0 then
        fail(
            format(
                "Invalid request to unpack with offset of %d and limit of %d.", to_int32(offset), to_int32(length)
            )
        )
    elseif offset > length then
        fail(format("Start offset %d greater than input length %d.", to_int32(offset), length))
    end
    local values, count, at = {}, 0, offset + 1
    while at <= length and count < limit do
        values[count + 1], at = unpack_value(text, at, slots + count)
        count = count + 1
    end
    return values, count, at > length and -1 or at - 1
end

local function unpack_all(...)
    local arguments = select("#", ...)
    local text = check_string(1, (...), arguments)
    local values, count = unpack_some(text, 2147483647, 0, arguments)
    return spread(values, 1, count)
end

local function unpack_from(text, limit, offset)
    local values, count, position = unpack_some(text, limit, offset, 1)
    if limit == 0 and offset == 0 then
        values, count = unpack_some(text, 2147483647, 0, 1)
        return values, 1, count
    elseif 1 + count + 1 > STACK_SLOTS then
        fail("stack overflow (in function mp_unpack_full)")
    end
    values[0] = position
    return values, 0, count
end

local function unpack_one(...)
    local count = select("#", ...)
    local text, offset = ...
    offset = offset == nil and 0 or check_integer(2, offset, count)
    local values, first, last = unpack_from(check_string(1, text, count), 1, offset)
    return spread(values, first, last)
end

local function unpack_limit(...)
    local count = select("#", ...)
    local text, limit, offset = ...
    limit = check_integer(2, limit, count)
    offset = offset == nil and 0 or check_integer(3, offset, count)
    local values, first, last = unpack_from(check_string(1, text, count), limit, offset)
    return spread(values, first, last)
end

cmsgpack = publish({
    _NAME = "cmsgpack",
    _VERSION = "lua-cmsgpack 0.4.0",
    _COPYRIGHT = "Copyright (C) 2012, Salvatore Sanfilippo",
    _DESCRIPTION = "MessagePack C implementation for Lua",
    pack = pack,
    unpack = unpack_all,
    unpack_one = unpack_one,
    unpack_limit = unpack_limit,
})
