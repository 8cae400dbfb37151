--- The byte vectors of spec/fixtures: the grammar is told at the head of the files.
local _M = {}

local function hex_token(token)
    local digits, times = token:match("^(%x%x)%*(%d+)$")
    digits = digits or token:match("^%x%x$")
    assert(digits, "not bytes: " .. token)
    return string.char(tonumber(digits, 16)):rep(tonumber(times) or 1)
end

--- The bytes that a value of a fixture denotes.
function _M.bytes(text)
    local pieces, at = {}, 1
    while at <= #text do
        local quote = text:match("^[\"']", at)
        local stop
        if quote then
            stop = assert(text:find(quote, at + 1, true), "quote without end: " .. text)
            pieces[#pieces + 1] = text:sub(at + 1, stop - 1)
        else
            stop = (text:find(" ", at, true) or #text + 1) - 1
            pieces[#pieces + 1] = hex_token(text:sub(at, stop))
        end
        at = (text:find("[^ ]", stop + 1)) or #text + 1
    end
    return table.concat(pieces)
end

-- A line without its comment and the spaces before that.
local function strip(line)
    local quote
    for at = 1, #line do
        local c = line:sub(at, at)
        if quote then
            quote = c ~= quote and quote or nil
        elseif c == '"' or c == "'" then
            quote = c
        elseif c == "#" then
            line = line:sub(1, at - 1)
            break
        end
    end
    return (line:gsub("%s+$", ""))
end

local BYTES = { id = true, app = true, action = true, metadata = true, message = true,
    details = true }
local NUMBERS = { budget_ms = true, deadline_ns = true, priority = true, code = true, after = true,
    max_message = true, max_args = true }

local function add_line(record, line)
    local key, value = line:match("^(%w[%w_]*): (.*)$")
    assert(key, "not a \"key: value\" line: " .. line)
    if key == "frame" then
        record.frame = record.frame .. _M.bytes(value)
    elseif key == "value" then
        record.values[#record.values + 1] =
            { tag = value:sub(1, 1), bytes = _M.bytes(value:sub(3)) }
    elseif BYTES[key] then
        record[key] = _M.bytes(value)
    else
        record[key] = NUMBERS[key] and tonumber(value) or value
    end
end

--- Read a file.
-- @tparam string name "valid" or "invalid"
-- @treturn table records, in order and by name: `frame` (bytes), `values` (list of `tag`,
-- `bytes`), and the other keys as bytes, numbers or words
function _M.load(name)
    local records, record = {}, nil
    for line in io.lines("spec/fixtures/" .. name .. ".txt") do
        local is_comment = line:sub(1, 1) == "#"
        line = strip(line)
        if line ~= "" then
            if not record then
                record = { frame = "", values = {} }
                records[#records + 1] = record
            end
            add_line(record, line)
            records[record.name] = record
        elseif not is_comment then
            record = nil
        end
    end
    return records
end

return _M
