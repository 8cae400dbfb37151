--- A dirty app that writes text word by word, as a language model does: a chain of words
-- that is learned from a text when a worker starts, and stays in memory between calls.

local dirty = require "dirty"
local ffi = require "ffi"

ffi.cdef [[
    int writer_poll(void *fds, unsigned long count, int timeout_ms) __asm__("poll");
]]

local Writer = dirty.app()

--- Learn which words follow which.
-- @tparam table options `text` (path of a text), `pause_ms` (per word, default 0: in place
--   of the work that a real model has)
function Writer:init(options)
    local file = assert(io.open(options.text))
    local text = file:read("*a")
    file:close()
    self.pause_ms = options.pause_ms or 0
    local words = {}
    for word in text:gmatch("%S+") do
        words[#words + 1] = word
    end
    self.followers = {}
    for i, word in ipairs(words) do
        local list = self.followers[word] or {}
        list[#list + 1] = words[i % #words + 1] -- after the last the first: no end is reached
        self.followers[word] = list
    end
end

--- Write.
-- @tparam string word the first one
-- @tparam[opt] number count how many; default: until the caller leaves or time is up
-- @treturn function|nil a stream of words; nil, err for a word that is not known
function Writer:write(word, count)
    if not self.followers[word] then
        return nil, ("nothing is known that follows '%s'"):format(word)
    end
    local written = 0
    return function()
        local list = self.followers[word]
        if written == count then
            return nil
        end
        ffi.C.writer_poll(nil, 0, self.pause_ms)
        local now = word
        written, word = written + 1, list[math.random(#list)]
        return now
    end
end

return Writer
