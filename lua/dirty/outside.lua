--- What takes the place of a lane (`dirty.host`) outside of a worker: there is no request, and the
-- log goes to stderr. dirty.testing puts functions of its own here while it runs an app.
-- @module dirty.outside

local gsub, io = string.gsub, io

local _M = {}

--- Remove what a terminal takes for a command: control characters, as bytes and as UTF-8. In a
-- worker the runtime's own log does that.
function _M.tame(text)
    return (gsub(gsub(text, "%c", "?"), "\194[\128-\159]", "?"))
end

--- Write newlines and tabs as escapes.
function _M.escaped(text)
    return (gsub(gsub(text, "\n", "\\n"), "\t", "\\t"))
end

--- Log a line; `fields` is logfmt text.
function _M.log(level, message, fields)
    io.stderr:write(level, ": ", _M.tame(_M.escaped(message)), fields == "" and "" or " ", fields,
        "\n")
end

--- A field of the running request.
function _M.request()
    return nil
end

--- Seconds until the deadline.
function _M.remaining()
    return nil
end

--- Whether the caller has hung up.
function _M.caller_is_gone()
    return false
end

return _M
