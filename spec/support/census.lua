--- What /proc tells of a tree of processes: who belongs to it, what each holds.
--
-- A tree is told by a mark in the environment of its first process, which all others
-- inherit: so strays are found wherever they went, whatever became of their parents.
-- @module support.census

local ffi = require "ffi"

local dirent = require "posix.dirent"
local stat = require "posix.sys.stat"
local unistd = require "posix.unistd"

local _M = {}

local MARK = "DIRTY_SPEC_CENSUS"

-- luaposix's own believes the size that lstat gives, which /proc makes up.
ffi.cdef("ssize_t census_readlink(const char *, char *, size_t) __asm__(\"readlink\");")

local room = ffi.new("char[4096]")

local function readlink(path)
    local len = tonumber(ffi.C.census_readlink(path, room, 4096))
    return len > 0 and ffi.string(room, len) or nil
end

local function read(path)
    local file = io.open(path, "rb")
    local text = file and file:read("*a")
    if file then
        file:close()
    end
    return text
end

--- The environment that marks a tree.
-- @tparam string mark a word that nobody else uses
-- @treturn table for the option `env` of support.process
function _M.env(mark)
    return { [MARK] = mark }
end

--- What the kernel knows of a process.
-- @tparam number pid
-- @treturn table|nil `pid`, `parent`, `group`, `session` (numbers), `state` (a letter, "Z":
--   dead and not reaped), `title` (its command line); nil if there is none
function _M.look(pid)
    local text = read(("/proc/%d/stat"):format(pid))
    local state, parent, group, session = (text or ""):match(
        "^.*%) (%S) (%d+) (%d+) (%d+)")
    if not state then
        return nil
    end
    local title = (read(("/proc/%d/cmdline"):format(pid)) or ""):gsub("%z+$", "")
    return { pid = pid, state = state, parent = tonumber(parent), group = tonumber(group),
        session = tonumber(session), title = (title:gsub("%z", " ")) }
end

--- All processes of a tree, those that are dead and not reaped included.
-- @tparam string mark
-- @treturn {table,...} as look gives them
function _M.all(mark)
    local found, dead, is_in = {}, {}, {}
    local needle = MARK .. "=" .. mark .. "\0"
    for name in dirent.files("/proc") do
        local pid = tonumber(name)
        local one = pid and _M.look(pid)
        if one and one.state == "Z" then
            dead[#dead + 1] = one
        elseif one and (read("/proc/" .. name .. "/environ") or ""):find(needle, 1, true) then
            found[#found + 1], is_in[pid] = one, true
        end
    end
    for _, one in ipairs(dead) do
        if is_in[one.parent] then
            found[#found + 1] = one
        end
    end
    return found
end

--- Those of a tree that belong to no living member: dead ones that nobody has reaped, and
-- those whose process group's leader is gone.
-- @tparam string mark
-- @treturn {string,...} a line for each
function _M.strays(mark)
    local lines, members, alive = {}, _M.all(mark), {}
    for _, one in ipairs(members) do
        alive[one.pid] = one.state ~= "Z"
    end
    for _, one in ipairs(members) do
        if one.state == "Z" or not (alive[one.group] or one.group == unistd.getpgrp()) then
            lines[#lines + 1] = ("pid %d (%s) of group %d, state %s, parent %d"):format(one.pid,
                one.title, one.group, one.state, one.parent)
        end
    end
    return lines
end

--- What a process has open.
-- @tparam number pid
-- @treturn number how many descriptors
-- @treturn table how many by what they are: "socket", "pipe", "anon_inode:…", a path
function _M.descriptors(pid)
    local count, kinds = 0, {}
    local dir = ("/proc/%d/fd"):format(pid)
    if not stat.stat(dir) then
        return 0, kinds
    end
    for name in dirent.files(dir) do
        local target = readlink(dir .. "/" .. name)
        if target and tonumber(name) then
            local kind = target:match("^(%a+):%[") or target
            kinds[kind] = (kinds[kind] or 0) + 1
            count = count + 1
        end
    end
    return count, kinds
end

--- How many pages a process shares with its children (a lane has one).
-- @tparam number pid
-- @treturn number of mappings of shared memory without a file
function _M.shared_pages(pid)
    local bytes = 0
    for from, to, flags, path in (read(("/proc/%d/maps"):format(pid)) or ""):gmatch(
        "(%x+)%-(%x+) (%S+) %S+ %S+ %S+ *([^\n]*)\n") do
        if flags:sub(4) == "s" and path:find("/dev/zero", 1, true) then
            bytes = bytes + tonumber(to, 16) - tonumber(from, 16)
        end
    end
    return bytes / 4096
end

--- The address space of a process, as RLIMIT_AS counts it.
-- @tparam number pid
-- @treturn number KiB
function _M.memory_kib(pid)
    local pages = (read(("/proc/%d/statm"):format(pid)) or ""):match("^%d+")
    return (tonumber(pages) or 0) * 4
end

--- The resident memory of a process.
-- @tparam number pid
-- @treturn number MiB
function _M.rss_mib(pid)
    local pages = (read(("/proc/%d/statm"):format(pid)) or ""):match("^%d+ (%d+)")
    return (tonumber(pages) or 0) * 4096 / 2 ^ 20
end

return _M
