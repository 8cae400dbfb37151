--- An app for the tests of streams: its streams say in a file how far they have come.
local dirty = require("dirty")
local time = require("posix.time")

local Flow = dirty.app({ cancel_on_disconnect = true })

local function note(path, text)
    local file = assert(io.open(path .. ".new", "w"))
    file:write(text)
    file:close()
    assert(os.rename(path .. ".new", path))
end

--- Stream `count` chunks of `size` bytes, each with its number; the file `path` has the
-- number of the last one that was made.
function Flow:pieces(path, count, size)
    local i, piece = 0, ("x"):rep(size)
    return function()
        if i < count then
            i = i + 1
            note(path, tostring(i))
            return piece, i
        end
    end
end

--- Stream `count` chunks, then fail.
function Flow:then_fail(count)
    local i = 0
    return function()
        i = i + 1
        if i > count then
            error("out of tokens")
        end
        return "chunk " .. i
    end
end

--- Stream a chunk and never another.
function Flow:stall()
    return coroutine.wrap(function()
        coroutine.yield("first")
        while true do end
    end)
end

--- Stream a chunk, another after `ms` milliseconds, and never a third.
function Flow:then_stall(ms)
    return coroutine.wrap(function()
        coroutine.yield("first")
        time.nanosleep { tv_sec = 0, tv_nsec = ms * 1e6 }
        coroutine.yield("second")
        while true do end
    end)
end

--- Run until somebody ends it; the file `path` tells that it has begun.
function Flow:wait(path)
    note(path, "running")
    while true do
        dirty.check()
    end
end

--- Nothing, to see whether the lane is free.
function Flow:noop()
    return true
end

return Flow
