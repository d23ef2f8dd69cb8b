-- The bit library. Argument: the shared code.

local shared = ...
local check_number, double_words, publish = shared.check_number, shared.double_words, shared.publish
local floor, format, select, sub, upper, type = math.floor, string.format, select, string.sub, string.upper, type

local WORD, SIGN = 4294967296, 2147483648
local ROUNDER = 6755399441055744 -- 2^52 + 2^51

local NIBBLE_AND = {}
for a = 0, 15 do
    for b = 0, 15 do
        local both = 0
        for place = 0, 3 do
            local weight = 2 ^ place
            if floor(a / weight) % 2 == 1 and floor(b / weight) % 2 == 1 then
                both = both + weight
            end
        end
        NIBBLE_AND[a * 16 + b] = both
    end
end

-- The unsigned word of an argument.
local function word(number, value, count)
    if type(value) ~= "number" then
        value = check_number(number, value, count)
    end
    local sum = value + ROUNDER
    if sum >= 4503599627370496 and sum < 9007199254740992 then
        return sum % WORD
    end
    local _, low = double_words(sum)
    return low
end

local function signed(value)
    return value >= SIGN and value - WORD or value
end

local function both(a, b)
    local result, weight = 0, 1
    for _ = 1, 8 do
        local x, y = a % 16, b % 16
        result = result + NIBBLE_AND[x * 16 + y] * weight
        a, b, weight = (a - x) / 16, (b - y) / 16, weight * 16
    end
    return result
end

local function either(a, b)
    return a + b - both(a, b)
end

local function different(a, b)
    return a + b - 2 * both(a, b)
end

-- A function of one or more words. The arguments are looked at like in the original: the first, then from the last down.
local function fold(operation)
    return function(...)
        local count = select("#", ...)
        local a, b = ...
        local result = word(1, a, count)
        if count == 2 then
            return signed(operation(result, word(2, b, 2)))
        end
        for number = count, 2, -1 do
            result = operation(result, word(number, (select(number, ...)), count))
        end
        return signed(result)
    end
end

local function shift(operation)
    return function(...)
        local count = select("#", ...)
        local a, b = ...
        local value = word(1, a, count)
        return signed(operation(value, word(2, b, count) % 32))
    end
end

local function shift_left(value, distance)
    return value % 2 ^ (32 - distance) * 2 ^ distance
end

local function shift_right(value, distance)
    return floor(value / 2 ^ distance)
end

local function rotate_left(value, distance)
    return shift_left(value, distance) + floor(value / 2 ^ (32 - distance))
end

bit = publish({
    tobit = function(...)
        return signed(word(1, (...), select("#", ...)))
    end,
    bnot = function(...)
        return signed(WORD - 1 - word(1, (...), select("#", ...)))
    end,
    band = fold(both),
    bor = fold(either),
    bxor = fold(different),
    lshift = shift(shift_left),
    rshift = shift(shift_right),
    arshift = shift(function(value, distance)
        return floor(signed(value) / 2 ^ distance) % WORD
    end),
    rol = shift(rotate_left),
    ror = shift(function(value, distance)
        return rotate_left(value, (32 - distance) % 32)
    end),
    bswap = function(...)
        local value = word(1, (...), select("#", ...))
        local a, b, c, d = value % 256, floor(value / 256) % 256, floor(value / 65536) % 256, floor(value / 16777216)
        return signed(((a * 256 + b) * 256 + c) * 256 + d)
    end,
    tohex = function(...)
        local count = select("#", ...)
        local a, b = ...
        local value = word(1, a, count)
        local digits = count < 2 and 8 or signed(word(2, b, count))
        local text = format("%08x", value)
        if digits < 0 then
            digits, text = -digits, upper(text)
        end
        return digits == 0 and "" or sub(text, -digits)
    end,
})
