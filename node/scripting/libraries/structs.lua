-- The struct library. Argument: the shared code.

local shared = ...
local fail, bad_argument, publish, spread = shared.fail, shared.bad_argument, shared.publish, shared.spread
local check_string, check_number, check_integer = shared.check_string, shared.check_number, shared.check_integer
local check_c_string, double_words, double_from_words =
    shared.check_c_string, shared.double_words, shared.double_from_words
local single_word, single_from_word, STACK_SLOTS = shared.single_word, shared.single_from_word, shared.STACK_SLOTS
local byte, char, find, format, match = string.byte, string.char, string.find, string.format, string.match
local rep, reverse, sub = string.rep, string.reverse, string.sub
local ceil, concat, floor, select, tonumber, type = math.ceil, table.concat, math.floor, select, tonumber, type

local WORD = 4294967296
local MAX_INTEGER_SIZE, MAX_ALIGNMENT = 32, 8
local FIXED_SIZE = { b = 1, B = 1, h = 2, H = 2, l = 8, L = 8, T = 8, f = 4, d = 8, x = 1 }
local IS_INTEGER = { b = true, B = true, h = true, H = true, l = true, L = true, T = true, i = true, I = true }

local function read_count(layout, at, default)
    local digits, behind = match(layout, "^(%d+)()", at)
    if not digits then
        return default, at
    end
    local count = tonumber(digits)
    if count > 2147483647 then
        fail("integral size overflow")
    end
    return count, behind
end

-- The size that an option of this letter takes (0 if it has none) and the position behind its number.
local function read_size(layout, letter, at)
    local size = FIXED_SIZE[letter]
    if size then
        return size, at
    elseif letter == "c" then
        return read_count(layout, at, 1)
    elseif letter ~= "i" and letter ~= "I" then
        return 0, at
    end
    size, at = read_count(layout, at, 4)
    if size > MAX_INTEGER_SIZE then
        fail(format("integral size %d is larger than limit of %d", size, MAX_INTEGER_SIZE))
    end
    return size, at
end

local function both_bits(a, b)
    local result, weight = 0, 1
    while a > 0 and b > 0 do
        if a % 2 == 1 and b % 2 == 1 then
            result = result + weight
        end
        a, b, weight = floor(a / 2), floor(b / 2), weight * 2
    end
    return result
end

-- How many bytes come before an element of `size` at `position`. A size that is no power of 2 gets what the usual
-- arithmetic with masks makes of it.
local function padding(state, letter, position, size)
    if size == 0 or letter == "c" or state.alignment == 1 then
        return 0
    elseif size > state.alignment then
        size = state.alignment
    end
    local mask = size - 1
    return both_bits(size - both_bits(position % 64, mask), mask)
end

-- Apply an option that stands for no value; return the position behind it.
local function control(state, layout, letter, at)
    if letter == "<" or letter == ">" then
        state.big = letter == ">"
    elseif letter == "!" then
        local alignment, behind = read_count(layout, at, MAX_ALIGNMENT)
        local power = alignment
        while power > 1 and power % 2 == 0 do
            power = power / 2
        end
        if power ~= 1 then
            fail(format("alignment %d is not a power of 2", alignment))
        end
        state.alignment, at = alignment, behind
    elseif letter ~= " " then
        bad_argument(1, "invalid format option '" .. letter .. "'")
    end
    return at
end

-- Two 32-bit words as eight bytes, the least significant one first.
local function little_endian(high, low)
    return char(
        low % 256, floor(low / 256) % 256, floor(low / 65536) % 256, floor(low / 16777216),
        high % 256, floor(high / 256) % 256, floor(high / 65536) % 256, floor(high / 16777216)
    )
end

-- The two words of the first eight bytes of `bytes`, the least significant one first; absent bytes are zero.
local function words(bytes)
    local a, b, c, d, e, f, g, h = byte(bytes, 1, 8)
    local low = (((d or 0) * 256 + (c or 0)) * 256 + (b or 0)) * 256 + (a or 0)
    return (((h or 0) * 256 + (g or 0)) * 256 + (f or 0)) * 256 + (e or 0), low
end

-- A number as a 64-bit integer in two words, converted as the processor does it.
local function integer_words(number)
    if number < 0 then
        if number < -2 ^ 63 then
            return 2147483648, 0
        end
        number = ceil(number)
    elseif number ~= number then
        return 2147483648, 0
    elseif number >= 2 ^ 64 then
        return 0, 0
    else
        number = floor(number)
    end
    return floor(number / WORD) % WORD, number % WORD
end

local function integer_from_words(high, low, size, is_signed)
    if is_signed then
        local shift = (size * 8 - 1) % 64 -- where the sign extends from
        if shift >= 32 then
            local limit = 2 ^ (shift - 32)
            if high >= limit then
                high = high % limit - limit
            end
        elseif high > 0 or low >= 2 ^ shift then
            return low % 2 ^ shift - 2 ^ shift
        end
    end
    return high * WORD + low
end

local function pack_number(state, letter, size, number)
    local bytes
    if letter == "f" then
        bytes = sub(little_endian(0, single_word(number)), 1, 4)
    elseif letter == "d" then
        bytes = little_endian(double_words(number))
    else
        bytes = little_endian(integer_words(number))
        bytes = size <= 8 and sub(bytes, 1, size) or bytes .. rep("\0", size - 8)
    end
    return state.big and reverse(bytes) or bytes
end

local function unpack_number(state, letter, bytes)
    if state.big then
        bytes = reverse(bytes)
    end
    local high, low = words(bytes)
    if letter == "f" then
        return single_from_word(low)
    elseif letter == "d" then
        return double_from_words(high, low)
    end
    return integer_from_words(high, low, #bytes, find(letter, "%l") ~= nil)
end

local function pack_string(letter, size, text, argument)
    if size == 0 then
        size = #text
    elseif #text < size then
        bad_argument(argument + 1, "string too short")
    end
    return sub(text, 1, size) .. (letter == "s" and "\0" or "")
end

local function pack(...)
    local count = select("#", ...)
    local arguments = { ... }
    local layout = check_c_string(1, arguments[1], count)
    local state = { big = false, alignment = 1 }
    local out, pieces, total, argument, at = {}, 0, 0, 2, 1
    while at <= #layout do
        local letter, size = sub(layout, at, at), nil
        size, at = read_size(layout, letter, at + 1)
        local gap = padding(state, letter, total, size)
        local piece = ""
        -- a missing argument is called nil, not "no value": hence its own number as the count
        if IS_INTEGER[letter] or letter == "f" or letter == "d" then
            piece = pack_number(state, letter, size, check_number(argument, arguments[argument], argument))
            argument = argument + 1
        elseif letter == "c" or letter == "s" then
            piece = pack_string(letter, size, check_string(argument, arguments[argument], argument), argument)
            argument = argument + 1
        elseif letter == "x" then
            piece = "\0"
        else
            at = control(state, layout, letter, at)
        end
        pieces = pieces + 1
        out[pieces] = gap > 0 and rep("\0", gap) .. piece or piece
        total = total + gap + #piece
    end
    return concat(out, "", 1, pieces)
end

local function check_room(data, position, size)
    if position < 0 or position + size > #data then
        bad_argument(2, "data string too short")
    end
end

-- The length that the value before a `c0` says.
local function counted_size(value)
    local number = (type(value) == "number" or type(value) == "string") and tonumber(value)
    if not number then
        fail("format 'c0' needs a previous size")
    end
    local high, low = integer_words(number)
    return high * WORD + low
end

local function read_string(data, position)
    local stop = find(data, "%z", position + 1)
    if not stop then
        fail("unfinished string in data")
    end
    return sub(data, position + 1, stop - 1), stop - position
end

local function unpack_values(layout, data, position, slots)
    local state = { big = false, alignment = 1 }
    local results, n, at = {}, 0, 1
    while at <= #layout do
        local letter, size = sub(layout, at, at), nil
        size, at = read_size(layout, letter, at + 1)
        position = position + padding(state, letter, position, size)
        check_room(data, position, size)
        if slots + n + 2 > STACK_SLOTS then
            fail("stack overflow (too many results)")
        end
        if IS_INTEGER[letter] or letter == "f" or letter == "d" then
            n = n + 1
            results[n] = unpack_number(state, letter, sub(data, position + 1, position + size))
        elseif letter == "c" then
            if size == 0 then
                size = counted_size(results[n])
                check_room(data, position, size)
                n = n - 1
            end
            n = n + 1
            results[n] = sub(data, position + 1, position + size)
        elseif letter == "s" then
            n = n + 1
            results[n], size = read_string(data, position)
        elseif letter ~= "x" then
            at = control(state, layout, letter, at)
        end
        position = position + size
    end
    results[n + 1] = position + 1
    return results, n + 1
end

local function unpack(...)
    local count = select("#", ...)
    local layout, data, start = ...
    layout = check_c_string(1, layout, count)
    data = check_string(2, data, count)
    start = start == nil and 1 or check_integer(3, start, count)
    if start == 0 then
        bad_argument(3, "offset must be 1 or greater")
    end
    local results, n = unpack_values(layout, data, start - 1, count)
    return spread(results, 1, n)
end

local function size_of(...)
    local layout = check_c_string(1, (...), select("#", ...))
    local state = { big = false, alignment = 1 }
    local total, at = 0, 1
    while at <= #layout do
        local letter, size = sub(layout, at, at), nil
        size, at = read_size(layout, letter, at + 1)
        total = total + padding(state, letter, total, size)
        if letter == "s" then
            bad_argument(1, "option 's' has no fixed size")
        elseif letter == "c" and size == 0 then
            bad_argument(1, "option 'c0' has no fixed size")
        elseif not find(letter, "%w") then
            at = control(state, layout, letter, at)
        end
        total = total + size
    end
    return total
end

struct = publish({ pack = pack, unpack = unpack, size = size_of })
