--- The kinds of values that options have. Each checks a value and normalizes it.
--
-- A kind has a function `check(value)`. It returns the value as the runtime needs it, or
-- `nil, text`: text follows "must be" in a message. Values from the configuration file have their
-- Lua types. Values from flags and the environment are strings: `from_text` of a kind makes of a
-- string what the file would have.
-- @module dirty.config.types

local units = require "dirty.units"

local _M = {}

-- The runtime's timers and poll(2) count milliseconds in 31 bits.
_M.SECONDS_MAX = 2147483

local function whole(value)
    return type(value) == "number" and value == math.floor(value) and math.abs(value) < 2 ^ 53
end

local function text_to_number(text)
    return text:match("^%s*[-+]?[%d.]") and tonumber(text) or text
end

local function same(text)
    return text
end

--- A whole number.
-- @tparam number min
-- @tparam number max
-- @treturn table kind
function _M.count(min, max)
    local function check(value)
        if whole(value) and value >= min and value <= max then
            return value
        end
        return nil, ("a whole number from %d to %d"):format(min, max)
    end
    return { check = check, from_text = text_to_number, name = "number" }
end

local TIME_UNITS = { ms = 0.001, s = 1, sec = 1, second = 1, seconds = 1, m = 60, min = 60,
    minute = 60, minutes = 60, h = 3600, hour = 3600, hours = 3600, d = 86400, day = 86400,
    days = 86400 }

-- The seconds that a value with a unit means: "5m" is 300.
local function seconds_meant(value)
    if type(value) ~= "string" then
        return nil
    end
    local number, unit = value:lower():match("^%s*[\"']?([%d.]+)%s*(%a*)[\"']?%s*$")
    local factor = unit == "" and 1 or TIME_UNITS[unit]
    return factor and tonumber(number) and tonumber(number) * factor
end

--- A time in seconds, fractions allowed.
-- @tparam string|nil zero what 0 means ("no limit"); nil if 0 is not allowed
-- @treturn table kind
function _M.seconds(zero)
    local range = zero and ("0 (%s) to %d"):format(zero, _M.SECONDS_MAX)
        or ("0.001 to %d"):format(_M.SECONDS_MAX)
    local function check(value)
        local number = type(value) == "number" and value
        if number and number <= _M.SECONDS_MAX and (number >= 0.001 or (zero and number == 0)) then
            return number
        end
        local example = seconds_meant(value)
        return nil, ("a number of seconds from %s%s"):format(range,
            example and (", written without a unit: %s"):format(example) or "")
    end
    return { check = check, from_text = text_to_number, name = "seconds" }
end

-- Longer times are often milliseconds by mistake.
local LONG_SECONDS = 3600

--- Spell a time out that is probably meant in another unit.
-- @tparam number seconds
-- @treturn string|nil "5000 s is 1 h 23 m: times are in seconds"; nil for a usual time
function _M.long_time(seconds)
    if seconds > LONG_SECONDS then
        return ("%.14g s is %s: times are in seconds"):format(seconds, units.duration(seconds))
    end
end

local SIZE_UNITS = { [""] = 1, k = 1024, m = 1024 ^ 2, g = 1024 ^ 3 }

--- A size in bytes: a number, or a string with a unit ("64m").
-- @tparam number min bytes
-- @tparam number max bytes
-- @tparam string|nil zero what 0 means ("no limit"); nil if 0 is not allowed
-- @treturn table kind
function _M.size(min, max, zero)
    local range = ("%s%d to %d bytes"):format(zero and ("0 (%s), or "):format(zero) or "", min, max)
    local function check(value)
        local bytes = value
        if type(value) == "string" then
            local digits, unit = value:lower():match("^%s*([%d.]+)%s*([kmg]?)i?b?%s*$")
            bytes = tonumber(digits) and tonumber(digits) * SIZE_UNITS[unit]
        end
        if whole(bytes) and (bytes >= min and bytes <= max or zero and bytes == 0) then
            return bytes
        end
        return nil, ("a size from %s: a number, or a string like \"64k\" or \"16m\"")
            :format(range)
    end
    return { check = check, from_text = text_to_number, name = "bytes" }
end

--- One of a list of words.
-- @tparam {string,...} words
-- @treturn table kind
function _M.choice(words)
    local function check(value)
        for _, word in ipairs(words) do
            if value == word then
                return value
            end
        end
        return nil, "one of " .. table.concat(words, ", ")
    end
    return { check = check, from_text = same, name = "word" }
end

--- true or false.
-- @treturn table kind
function _M.boolean()
    local function check(value)
        if type(value) == "boolean" then
            return value
        end
        return nil, "true or false"
    end
    local function from_text(text)
        local words = { ["true"] = true, ["false"] = false }
        local value = words[text]
        return value == nil and text or value
    end
    return { check = check, from_text = from_text, name = "boolean" }
end

--- Permission bits. The digits are octal as for chmod, in a string and in a number. Lua has no
-- octal numbers, so `socket_mode = 0660` is the number 660 and means rw-rw----.
-- @treturn table kind
function _M.mode()
    local function check(value)
        local digits = (type(value) == "string" or whole(value)) and tostring(value)
        if digits and digits:match("^0*[0-7]?[0-7]?[0-7]$") then
            return tonumber(digits, 8)
        end
        return nil, "octal permission bits from 0 to 777, for example \"0660\""
    end
    return { check = check, from_text = same, name = "octal" }
end

local function string_kind(what, example, name)
    local function check(value)
        if type(value) == "string" and value ~= "" and not value:find("%z") then
            return value
        end
        return nil, ("%s, for example %q"):format(what, example)
    end
    return { check = check, from_text = same, name = name }
end

--- A path of a file or directory.
-- @tparam string example
-- @treturn table kind
function _M.path(example)
    return string_kind("a path", example, "path")
end

--- A user or group: its name or its number.
-- @tparam string what "user" or "group"
-- @tparam string example
-- @treturn table kind
function _M.principal(what, example)
    local kind = string_kind(("the name or number of a %s"):format(what), example, "name")
    local check = kind.check
    kind.check = function(value)
        if whole(value) and value >= 0 then
            return tostring(value)
        end
        return check(value)
    end
    return kind
end

--- The largest number of users in a list.
_M.USERS_MAX = 64

--- A list of users, each by name or number. false and an empty list mean no users.
-- @treturn table kind
function _M.users()
    local one = _M.principal("user", "root")
    local must = 'a list of up to %d users by name or number, for example { "root", "deploy" }, '
        .. "or false for nobody"
    local function check(value)
        local users, count = {}, 0
        for key, user in pairs(type(value) == "table" and value or {}) do
            count = count + 1
            users[key] = one.check(user)
        end
        local is_list = type(value) == "table" and #users == count
        if value ~= false and (not is_list or count > _M.USERS_MAX) then
            return nil, must:format(_M.USERS_MAX)
        end
        return count > 0 and users
    end
    return { check = check, name = "users" }
end

--- Templates of Lua's package.path.
-- @tparam string example
-- @treturn table kind
function _M.search(example)
    local function check(value)
        if type(value) ~= "string" then
            return nil, ("templates with a ? each, for example %q"):format(example)
        end
        for template in value:gmatch("[^;]+") do
            if not template:find("?", 1, true) then
                return nil, ("templates with a ? for the module each; %q has none, "
                    .. "write %q"):format(template, template:gsub("/*$", "")
                    .. example:match("/[^/]*$"))
            end
        end
        return value
    end
    return { check = check, from_text = same, name = "templates" }
end

--- A hook: a function.
-- @treturn table kind
function _M.hook()
    local function check(value)
        if type(value) == "function" then
            return value
        end
        return nil, "a function"
    end
    return { check = check, name = "function" }
end

return _M
