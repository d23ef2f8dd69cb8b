-- The decoder of the cjson library. Arguments: the shared code, the value that stands for null. Returns a function that
-- makes a `decode` for a table of options.

local shared, null = ...
local fail, bad_argument, check_string = shared.fail, shared.bad_argument, shared.check_string
local byte, char, find, format, lower = string.byte, string.char, string.find, string.format, string.lower
local match, sub, STACK_SLOTS = string.match, string.sub, shared.STACK_SLOTS
local concat, floor, select, tonumber = table.concat, math.floor, select, tonumber

local UNESCAPED = {
    [34] = '"', [92] = "\\", [47] = "/", [98] = "\b", [116] = "\t", [110] = "\n", [102] = "\f", [114] = "\r",
}

local function utf8(code)
    if code < 0x80 then
        return char(code)
    elseif code < 0x800 then
        return char(0xC0 + floor(code / 64), 0x80 + code % 64)
    elseif code < 0x10000 then
        return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
    end
    local third, second = floor(code / 64), floor(code / 4096)
    return char(0xF0 + floor(code / 262144), 0x80 + second % 64, 0x80 + third % 64, 0x80 + code % 64)
end

-- The character of the \uXXXX at `at` and where the text goes on; nothing if it is malformed or half of a pair.
local function read_unicode_escape(text, at)
    local digits = match(text, "^%x%x%x%x", at + 2)
    if not digits then
        return nil
    end
    local code = tonumber(digits, 16)
    if code < 0xD800 or code > 0xDFFF then
        return utf8(code), at + 6
    end
    local low = code < 0xDC00 and match(text, "^\\u([dD][c-fC-F]%x%x)", at + 6)
    if not low then
        return nil
    end
    return utf8(0x10000 + (code - 0xD800) * 1024 + tonumber(low, 16) - 0xDC00), at + 12
end

-- The string whose quote is at `at`, and the position behind it; or nil, what is wrong and where.
local function read_string(text, at)
    local plain, behind = match(text, '^"([^"\\%z]*)"()', at)
    if plain then
        return plain, behind
    end
    local parts, size, from = {}, 0, at + 1
    local stop = find(text, '["\\%z]', from)
    while stop do
        local code = byte(text, stop)
        size = size + 1
        parts[size] = sub(text, from, stop - 1)
        if code == 34 then
            return concat(parts), stop + 1
        elseif code == 0 then
            break
        end
        code = byte(text, stop + 1)
        size = size + 1
        if code == 117 then
            parts[size], from = read_unicode_escape(text, stop)
            if not from then
                return nil, "invalid unicode escape code", stop
            end
        else
            parts[size], from = UNESCAPED[code], stop + 2
            if not parts[size] then
                return nil, "invalid escape code", stop
            end
        end
        stop = find(text, '["\\%z]', from)
    end
    return nil, "unexpected end of string", stop or #text + 1
end

-- The longest number at `at` as `strtod` reads it, and the position behind it; or nil.
local function read_any_number(text, at)
    local body = match(text, "^[+-]?()", at)
    local digits, stop = match(text, "^0[xX](%x*%.?%x*)()", body)
    if digits and find(digits, "%x") then
        stop = match(text, "^[pP][+-]?%d+()", stop) or stop
    else
        digits, stop = match(text, "^(%d*%.?%d*)()", body)
        if find(digits, "%d") then
            stop = match(text, "^[eE][+-]?%d+()", stop) or stop
        else
            local word = lower(sub(text, body, body + 7))
            if word == "infinity" then
                stop = body + 8
            elseif sub(word, 1, 3) == "inf" then
                stop = body + 3
            elseif sub(word, 1, 3) == "nan" then
                stop = match(text, "^%([%w_]*%)()", body + 3) or body + 3
            else
                return nil
            end
        end
    end
    return tonumber(sub(text, at, stop - 1)), stop
end

-- Is this a number that JSON does not know: plus sign, hexadecimal, leading zero, infinity, NaN?
local function is_foreign_number(text, at)
    if byte(text, at) == 43 then
        return true
    end
    local body = match(text, "^%-?()", at)
    if find(text, "^0[xX%d]", body) then
        return true
    end
    local word = lower(sub(text, body, body + 2))
    return word == "inf" or word == "nan"
end

local function read_number(options, text, at)
    local digits, behind = match(text, "^(-?[1-9]%d*)()[^.eE%d]", at)
    if digits then
        return tonumber(digits), behind
    end
    if not options.decode_invalid_numbers and is_foreign_number(text, at) then
        return nil
    end
    return read_any_number(text, at)
end

local PUNCTUATION = {
    [123] = "T_OBJ_BEGIN", [125] = "T_OBJ_END", [91] = "T_ARR_BEGIN", [93] = "T_ARR_END",
    [58] = "T_COLON", [44] = "T_COMMA", [0] = "T_END",
}
local STARTS_NUMBER = { [45] = true }
for code = 48, 57 do
    STARTS_NUMBER[code] = true
end
local WORDS = { [116] = "^true()", [102] = "^false()", [110] = "^null()" }
local WORD_VALUES = { [116] = true, [102] = false, [110] = null }

-- The value of a token that is neither structure nor string: kind, value, next position; or nil, problem.
local function read_scalar(options, text, at, code)
    if STARTS_NUMBER[code] then
        local value, stop = read_number(options, text, at)
        if value then
            return "T_NUMBER", value, stop
        end
        return nil, "invalid number"
    end
    local stop = WORDS[code] and match(text, WORDS[code], at)
    if stop then
        return code == 110 and "T_NULL" or "T_BOOLEAN", WORD_VALUES[code], stop
    end
    if options.decode_invalid_numbers and find(text, "^[iInN+]", at) and is_foreign_number(text, at) then
        local value, behind = read_any_number(text, at)
        if value then
            return "T_NUMBER", value, behind
        end
        return nil, "invalid number"
    end
    return nil, "invalid token"
end

-- Raise the error for the token at `at`, where `wanted` should have stood.
local function unexpected(options, wanted, text, at)
    local code = byte(text, at) or 0
    local found = PUNCTUATION[code]
    if code == 34 then
        local value, problem, where = read_string(text, at)
        found = "T_STRING"
        if not value then
            found, at = problem, where
        end
    elseif not found then
        local kind, problem = read_scalar(options, text, at, code)
        found = kind or problem
    end
    fail("Expected " .. wanted .. " but found " .. found .. " at character " .. at)
end

-- The position of the next byte that is not white space, and that byte.
local function next_token(text, at)
    local code = byte(text, at)
    if code == 32 or code == 10 or code == 13 or code == 9 then
        at = find(text, "[^ \n\r\t]", at) or #text + 1
        code = byte(text, at)
    end
    return at, code
end

local function check_depth(options, at, depth, slots)
    if depth > options.decode_max_depth or slots > STACK_SLOTS then
        fail(format("Found too many nested data structures (%d) at character %d", depth, at))
    end
end

local read_value

local function read_array(options, text, at, depth, slots)
    check_depth(options, at, depth, slots + 2)
    local array, index, code = {}, 0, nil
    at, code = next_token(text, at + 1)
    if code == 93 then
        return array, at + 1
    end
    while true do
        if STARTS_NUMBER[code] then -- a row of plain numbers: one match for a number and its comma
            local digits, behind = match(text, "^(-?[1-9]%d*),()", at)
            while digits do
                index = index + 1
                array[index], at = tonumber(digits), behind
                digits, behind = match(text, "^(-?[1-9]%d*),()", at)
            end
            at, code = next_token(text, at)
        end
        index = index + 1
        array[index], at = read_value(options, text, at, code, depth, slots + 1)
        at, code = next_token(text, at)
        if code == 93 then
            return array, at + 1
        elseif code ~= 44 then
            unexpected(options, "comma or array end", text, at)
        end
        at, code = next_token(text, at + 1)
    end
end

local function read_object(options, text, at, depth, slots)
    check_depth(options, at, depth, slots + 3)
    local object, code = {}, nil
    at, code = next_token(text, at + 1)
    if code == 125 then
        return object, at + 1
    end
    while true do
        local key, behind
        if code == 34 then
            key, behind = read_string(text, at)
        end
        if not key then
            unexpected(options, "object key string", text, at)
        end
        at, code = next_token(text, behind)
        if code ~= 58 then
            unexpected(options, "colon", text, at)
        end
        at, code = next_token(text, at + 1)
        object[key], at = read_value(options, text, at, code, depth, slots + 2)
        at, code = next_token(text, at)
        if code == 125 then
            return object, at + 1
        elseif code ~= 44 then
            unexpected(options, "comma or object end", text, at)
        end
        at, code = next_token(text, at + 1)
    end
end

function read_value(options, text, at, code, depth, slots)
    local kind, value, stop
    if STARTS_NUMBER[code] then
        value, stop = read_number(options, text, at)
        kind = value
    elseif code == 34 then
        value, stop = read_string(text, at)
        kind = value
    elseif code == 123 then
        return read_object(options, text, at, depth + 1, slots)
    elseif code == 91 then
        return read_array(options, text, at, depth + 1, slots)
    elseif code then
        kind, value, stop = read_scalar(options, text, at, code)
    end
    if not kind then
        unexpected(options, "value", text, at)
    end
    return value, stop
end

local function decoder(options)
    return function(...)
        local count = select("#", ...)
        if count ~= 1 then
            bad_argument(1, "expected 1 argument")
        end
        local text = check_string(1, (...), count)
        if #text >= 2 and (byte(text, 1) == 0 or byte(text, 2) == 0) then
            fail("JSON parser does not support UTF-16 or UTF-32")
        end
        local at, code = next_token(text, 1)
        local value, stop = read_value(options, text, at, code, 0, 1)
        at, code = next_token(text, stop)
        if code and code ~= 0 then
            unexpected(options, "the end", text, at)
        end
        return value
    end
end

return decoder
