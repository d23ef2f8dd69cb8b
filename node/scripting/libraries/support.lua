-- What the script libraries share; see support.py. Returns it as a table.

local char, find, format, match = string.char, string.find, string.format, string.match
local floor, frexp, ceil, huge, ldexp = math.floor, math.frexp, math.ceil, math.huge, math.ldexp
local error, select, tonumber, tostring, type, unpack = error, select, tonumber, tostring, type, unpack
local getinfo = debug.getinfo

local shared = { STACK_SLOTS = 8000 }
local public = setmetatable({}, { __mode = "k" }) -- function -> its name in the library

-- Errors ------------------------------------------------------------------------------------------------------------

local function public_level()
    local level = 3
    while not public[getinfo(level, "f").func] do
        level = level + 1
    end
    return level - 1 -- as our caller counts
end

-- Raise `text` at the line that called the public function.
function shared.fail(text)
    error(text, public_level() + 1)
end

-- Raise the error of a wrong argument. A method call does not count the object that it is called on. A tail call has
-- lost the name by which the script called the function: it was most likely the library's.
function shared.bad_argument(number, text)
    local level = public_level()
    local call, caller = getinfo(level, "nf"), getinfo(level + 1, "S")
    if call.namewhat == "method" then
        number = number - 1
        if number == 0 then
            error(format("calling '%s' on bad self (%s)", call.name, text), level + 1)
        end
    end
    local name = call.name or caller and caller.what == "tail" and public[call.func] or "?"
    error(format("bad argument #%d to '%s' (", number, name) .. text .. ")", level + 1)
end

-- Let `fail` know the functions of `library`, so that it can tell them from the script's and from inner ones.
function shared.publish(library)
    for name, value in next, library do
        if type(value) == "function" then
            public[value] = name
        end
    end
    return library
end

-- Arguments: `count` is how many were passed, which tells a nil from nothing ------------------------------------------

local function wrong_type(wanted, number, value, count)
    local got = number > count and "no value" or type(value)
    shared.bad_argument(number, wanted .. " expected, got " .. got)
end

local function check_string(number, value, count)
    local kind = type(value)
    if kind == "string" then
        return value
    elseif kind == "number" then
        return tostring(value)
    end
    wrong_type("string", number, value, count)
end
shared.check_string = check_string

-- A string as C reads it: up to the first zero byte.
function shared.check_c_string(number, value, count)
    return match(check_string(number, value, count), "^[^%z]*")
end

local function check_number(number, value, count)
    local kind = type(value)
    if kind == "number" then
        return value
    elseif kind == "string" and tonumber(value) then
        return tonumber(value)
    end
    wrong_type("number", number, value, count)
end
shared.check_number = check_number

-- A C compiler's conversion of a double to a 64-bit integer: cut off the fraction; what does not fit is the minimum.
function shared.check_integer(number, value, count)
    value = check_number(number, value, count)
    if value >= -2 ^ 63 and value < 2 ^ 63 then
        return value < 0 and ceil(value) or floor(value)
    end
    return -2 ^ 63
end

-- The low 32 bits of an integer, read as signed.
function shared.to_int32(value)
    return (value + 2147483648) % 4294967296 - 2147483648
end

-- Results -----------------------------------------------------------------------------------------------------------

-- items[first..last] as results. The three arguments of `unpack` lie on the stack that its results must fit on, so the
-- last few of the longest possible lists would not fit.
function shared.spread(items, first, last)
    if last - first < 7990 then
        return unpack(items, first, last)
    end
    local a, b, c, d, e, f, g, h = unpack(items, first, first + 7)
    return a, b, c, d, e, f, g, h, unpack(items, first + 8, last)
end

-- IEEE 754 ----------------------------------------------------------------------------------------------------------

local NAN = tonumber("nan")
local NEGATIVE_NAN = -NAN

-- What the largest exponent stands for: infinity, or not a number.
local function special(fraction, sign)
    if fraction == 0 then
        return sign * huge
    end
    return sign < 0 and NEGATIVE_NAN or NAN
end

local function sign_of(number)
    if number ~= number then
        return find(format("%f", number), "^-") and 2147483648 or 0
    end
    return (number < 0 or 1 / number < 0) and 2147483648 or 0
end

-- A double as its high and its low 32 bits.
function shared.double_words(number)
    local sign = sign_of(number)
    if number ~= number then
        return sign + 0x7FF80000, 0
    end
    if number < 0 then
        number = -number
    end
    if number == 0 then
        return sign, 0
    elseif number == huge then
        return sign + 0x7FF00000, 0
    end
    local mantissa, exponent = frexp(number)
    local field, fraction = exponent + 1022, nil
    if field > 0 then
        fraction = (mantissa * 2 - 1) * 4503599627370496
    else
        fraction = ldexp(mantissa, exponent + 1074)
        field = 0
    end
    return sign + field * 1048576 + floor(fraction / 4294967296), fraction % 4294967296
end

function shared.double_from_words(high, low)
    local sign = 1
    if high >= 2147483648 then
        sign, high = -1, high - 2147483648
    end
    local field = floor(high / 1048576)
    local fraction = (high % 1048576) * 4294967296 + low
    if field == 2047 then
        return special(fraction, sign)
    elseif field == 0 then
        return sign * ldexp(fraction, -1074)
    end
    return sign * ldexp(fraction + 4503599627370496, field - 1075)
end

-- The 32 bits of the single precision number nearest to a double (ties to even, as the processor rounds).
function shared.single_word(number)
    local sign = sign_of(number)
    if number ~= number then
        return sign + 0x7FC00000
    end
    if number < 0 then
        number = -number
    end
    if number == 0 then
        return sign
    end
    local _, exponent = frexp(number)
    if number == huge or exponent > 128 then
        return sign + 0x7F800000
    end
    -- In units of the last place: adding and taking away 2^52 rounds to a whole one. A carry moves into the exponent.
    local unit = (exponent < -125 and -125 or exponent) - 24
    local units = ldexp(number, -unit) + 4503599627370496 - 4503599627370496
    return sign + (unit + 149) * 8388608 + units
end

function shared.single_from_word(word)
    local sign = 1
    if word >= 2147483648 then
        sign, word = -1, word - 2147483648
    end
    local field, fraction = floor(word / 8388608), word % 8388608
    if field == 255 then
        return special(fraction, sign)
    elseif field == 0 then
        return sign * ldexp(fraction, -149)
    end
    return sign * ldexp(fraction + 8388608, field - 150)
end

-- 32 bits as four bytes, the most significant one first.
function shared.big_endian(word)
    return char(floor(word / 16777216), floor(word / 65536) % 256, floor(word / 256) % 256, word % 256)
end

return shared
