--- What is left of a runtime after a storm: what its arbiter holds, which processes there
-- are, and how often the calls ran that must run once at most.
--
-- A check says what is wrong to the function `add`, a line for each thing.
-- @module support.aftermath

local census = require "support.census"
local cjson = require "cjson"
local process = require "support.process"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

local _M = {}

-- How much larger the arbiter may be afterwards: what malloc keeps for the next time.
local RSS_ROOM_MIB = 3

--- Whether this is a build with sanitizers. Their malloc keeps what was freed, to find who
-- uses it.
_M.SANITIZED = process.BUILD:find("san", 1, true) ~= nil

-- -- Before and after ----------------------------------------------------------------------

local function is_idle(worker)
    for _, lane in ipairs(worker.lanes) do
        if lane.state ~= "idle" then
            return false
        end
    end
    return worker.state == "ready"
end

-- The one connection that is left is the one that asks.
local function is_at_rest(rt, workers)
    local status = rt.asking:status()
    if not status or #status.workers ~= workers or not status.ready or status.arbiter.sessions ~= 1
        or status.reload.state ~= "idle" or status.queue.length ~= 0 then
        return false
    end
    for _, worker in ipairs(status.workers) do
        if not is_idle(worker) then
            return false
        end
    end
    for _, app in pairs(status.apps) do
        if app.queued ~= 0 then
            return false
        end
    end
    return status
end

--- What the arbiter holds when nothing is under way: no queue, every lane idle, no connection
-- but the one that asks. Raises where that does not come about.
-- @tparam table rt runtime, with `asking`, a client of it
-- @tparam number workers that it has to have
-- @treturn table `pid`, `restarts`, `descriptors`, `kinds` (of descriptors), `pages` (shared
--   with lanes), `rss_mib`
function _M.holdings(rt, workers)
    local status = wait.until_true(function() return is_at_rest(rt, workers) end, 15,
        function() return "at rest\n" .. cjson.encode(rt.asking:status() or {}) end)
    local pid = status.arbiter.pid
    local descriptors, kinds = census.descriptors(pid)
    return { pid = pid, restarts = status.arbiter.restarts, descriptors = descriptors,
        kinds = kinds, pages = census.shared_pages(pid), rss_mib = census.rss_mib(pid) }
end

local function differences(before, after)
    local lines = {}
    for kind, count in pairs(after.kinds) do
        if count ~= (before.kinds[kind] or 0) then
            lines[#lines + 1] = ("%s %d → %d"):format(kind, before.kinds[kind] or 0, count)
        end
    end
    return table.concat(lines, ", ")
end

--- Whether the arbiter holds what it held before. Some descriptors close a moment after what
-- used them: what stays is a leak.
-- @tparam table rt runtime
-- @tparam number workers
-- @tparam table before what holdings gave
-- @tparam function add
-- @treturn table holdings now
function _M.compare(rt, workers, before, add)
    local after = _M.holdings(rt, workers)
    local ok = pcall(wait.until_true, function()
        after = _M.holdings(rt, workers)
        return after.descriptors == before.descriptors and after.pages == before.pages
    end, 5)
    if not ok then
        add(("the arbiter holds %d descriptors and %d shared pages, before it was %d and %d: %s")
            :format(after.descriptors, after.pages, before.descriptors, before.pages,
                differences(before, after)))
    end
    if after.rss_mib > before.rss_mib + RSS_ROOM_MIB and not _M.SANITIZED then
        add(("the arbiter has %.1f MiB resident, before it was %.1f"):format(after.rss_mib,
            before.rss_mib))
    end
    return after
end

-- -- At most once ----------------------------------------------------------------------------

local function count_lines(text)
    local counts = {}
    for line in (text or ""):gmatch("[^\n]+") do
        counts[line] = (counts[line] or 0) + 1
    end
    return counts
end

--- Each call that was answered has run once, none has run twice, none that was said to be
-- unstarted has run.
-- @tparam string log of the app: the id of each call that has run, a line each
-- @tparam string fates of the program: an id and `once`, `maybe` or `no`, a line each
-- @tparam function add
-- @treturn number calls that were looked at
-- @treturn table how often each line of the log is there
function _M.check_once(log, fates, add)
    local runs = count_lines(tempdir.read(log))
    local calls = 0
    for id, fate in (tempdir.read(fates) or ""):gmatch("(%x+) (%a+)\n") do
        local times = runs[id] or 0
        calls = calls + 1
        if times > 1 or (fate == "once" and times ~= 1) or (fate == "no" and times ~= 0) then
            add(("call %s, which should have run %s, has run %d times"):format(id,
                fate == "maybe" and "at most once" or fate == "no" and "never" or "once", times))
        end
    end
    return calls, runs
end

-- -- Processes -------------------------------------------------------------------------------

--- Processes of the runtime that belong to none of its living members.
-- @tparam string mark of support.census
-- @tparam function add
function _M.check_strays(mark, add)
    for _, line in ipairs(census.strays(mark)) do
        add("stray: " .. line)
    end
end

--- Whether a runtime has ended as it should, and nothing of it lives on.
-- @tparam string mark of support.census
-- @tparam table ended `{exit=N}` or `{signal=N}`
-- @tparam function add
function _M.check_end(mark, ended, add)
    if ended.exit ~= 0 then
        add("the runtime ended with " .. cjson.encode(ended))
    end
    for _, one in ipairs(census.all(mark)) do
        add(("left behind: pid %d (%s)"):format(one.pid, one.title))
    end
end

return _M
