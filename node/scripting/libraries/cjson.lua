-- The cjson library: its options and the table of its functions. Arguments: the shared code, the value that stands for
-- null, and the functions that make `encode` and `decode` for a table of options.

local shared, null, encoder, decoder = ...
local bad_argument, publish = shared.bad_argument, shared.publish
local check_c_string, check_integer, to_int32 = shared.check_c_string, shared.check_integer, shared.to_int32
local format, select, type = string.format, select, type

local function refuse_more_than(limit, count)
    if count > limit then
        bad_argument(limit + 1, "found too many arguments")
    end
end

-- Every wrong integer is reported as argument 1, whatever its place.
local function integer_option(options, name, number, value, low, high)
    if value ~= nil then
        value = to_int32(check_integer(number, value, number))
        if value < low or value > high then
            bad_argument(1, format("expected integer between %d and %d", low, high))
        end
        options[name] = value
    end
    return options[name]
end

local function switch_option(options, name, value)
    if value ~= nil then
        if type(value) ~= "boolean" then
            local text = check_c_string(1, value, 1)
            if text ~= "on" and text ~= "off" then
                bad_argument(1, "invalid option '" .. text .. "'")
            end
            value = text == "on"
        end
        options[name] = value
    end
    return options[name]
end

local function depth_setter(options, name)
    return function(...)
        refuse_more_than(1, select("#", ...))
        local result = integer_option(options, name, 1, (...), 1, 2147483647)
        return result
    end
end

local function switch_setter(options, name)
    return function(...)
        refuse_more_than(1, select("#", ...))
        local result = switch_option(options, name, (...))
        return result
    end
end

local function precision_setter(options)
    return function(...)
        refuse_more_than(1, select("#", ...))
        local result = integer_option(options, "number_precision", 1, (...), 1, 14)
        options.number_format = "%." .. result .. "g"
        return result
    end
end

local function sparse_setter(options)
    return function(...)
        refuse_more_than(3, select("#", ...))
        local convert, ratio, safe = ...
        convert = switch_option(options, "sparse_convert", convert)
        ratio = integer_option(options, "sparse_ratio", 2, ratio, 0, 2147483647)
        safe = integer_option(options, "sparse_safe", 3, safe, 0, 2147483647)
        return convert, ratio, safe
    end
end

local function invalid_numbers_setter(options)
    return function(...)
        refuse_more_than(1, select("#", ...))
        local value = ...
        if type(value) == "boolean" then
            options.encode_invalid_numbers = value and "on" or "off"
        elseif value ~= nil then
            local text = check_c_string(1, value, 1)
            if text ~= "off" and text ~= "on" and text ~= "null" then
                bad_argument(1, "invalid option '" .. text .. "'")
            end
            options.encode_invalid_numbers = text
        end
        if options.encode_invalid_numbers == "null" then
            return "null"
        end
        return options.encode_invalid_numbers == "on"
    end
end

-- A library of its own, with its own options. The buffer option is kept and answered, but there is no buffer to keep.
local function new_library()
    local options = {
        encode_invalid_numbers = "off",
        encode_keep_buffer = true,
        encode_max_depth = 1000,
        decode_invalid_numbers = true,
        decode_max_depth = 1000,
        number_precision = 14,
        number_format = "%.14g",
        sparse_convert = false,
        sparse_ratio = 2,
        sparse_safe = 10,
    }
    return publish({
        _NAME = "cjson",
        _VERSION = "2.1.0",
        null = null,
        new = new_library,
        encode = encoder(options),
        decode = decoder(options),
        encode_sparse_array = sparse_setter(options),
        encode_max_depth = depth_setter(options, "encode_max_depth"),
        decode_max_depth = depth_setter(options, "decode_max_depth"),
        encode_number_precision = precision_setter(options),
        encode_keep_buffer = switch_setter(options, "encode_keep_buffer"),
        encode_invalid_numbers = invalid_numbers_setter(options),
        decode_invalid_numbers = switch_setter(options, "decode_invalid_numbers"),
    })
end

cjson = new_library()
