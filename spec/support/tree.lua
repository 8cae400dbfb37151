--- The processes of a runtime, by what /proc says of them.
--
-- A process is `{pid=, born=, title=}`; `born` tells it from a later one with its id.
-- @module support.tree

local dirent = require "posix.dirent"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local _M = {}

-- What /proc/PID/stat says, nil where there is no such process. A zombie has ended.
local function read_stat(pid)
    local text = tempdir.read(("/proc/%d/stat"):format(pid))
    local rest = text and text:match("^.*%) (.*)$")
    if not rest then
        return nil
    end
    local fields = {}
    for field in rest:gmatch("%S+") do
        fields[#fields + 1] = field
    end
    if fields[1] == "Z" or fields[1] == "X" then
        return nil
    end
    return { state = fields[1], parent = tonumber(fields[2]), group = tonumber(fields[3]),
        session = tonumber(fields[4]), born = fields[20] }
end
_M.stat = read_stat

local function title_of(pid)
    local text = tempdir.read(("/proc/%d/cmdline"):format(pid)) or ""
    return (text:gsub("%z+$", ""):gsub("%z", " "))
end

--- A process and everything below it.
-- @tparam number root pid
-- @treturn {table,...} root first
function _M.below(root)
    local parents, list, seen = {}, {}, {}
    for name in dirent.files("/proc") do
        local pid = tonumber(name)
        local stat = pid and read_stat(pid)
        if stat then
            parents[pid] = stat
        end
    end
    local function add(pid)
        seen[pid] = true
        list[#list + 1] = { pid = pid, born = parents[pid].born, title = title_of(pid),
            group = parents[pid].group, session = parents[pid].session }
        for child, stat in pairs(parents) do
            if stat.parent == pid and not seen[child] then
                add(child)
            end
        end
    end
    if parents[root] then
        add(root)
    end
    return list
end

--- Whether a process still runs.
function _M.is_alive(entry)
    local stat = read_stat(entry.pid)
    return stat ~= nil and stat.born == entry.born
end

--- Those of a list that still run, as text; nil if none does.
function _M.alive(list)
    local left = {}
    for _, entry in ipairs(list) do
        if _M.is_alive(entry) then
            left[#left + 1] = ("%d %s"):format(entry.pid, entry.title)
        end
    end
    return #left > 0 and table.concat(left, ", ") or nil
end

--- Wait until none of a list runs; raises with those that do.
-- @tparam {table,...} list
-- @tparam number seconds
function _M.wait_gone(list, seconds)
    wait.until_true(function() return not _M.alive(list) end, seconds, function()
        return "gone: " .. tostring(_M.alive(list))
    end)
end

--- The first of a list whose title matches.
function _M.find(list, pattern)
    for _, entry in ipairs(list) do
        if entry.title:find(pattern) then
            return entry
        end
    end
end

return _M
