--- Runs an app in a test, without a runtime: in this process, with the code that a lane uses to
-- load it, to call it and to describe its errors.
--
--     local testing = require "dirty.testing"
--     local app = assert(testing.open("myapp.images", { options = { max_pixels = 1e6 } }))
--     local png, err, info = app:execute("thumbnail", jpeg, 200)
--     app:close()
--
-- Arguments and results are encoded and decoded as on the wire. So the app gets copies, and a
-- value that can't be sent fails as it does there. What only a worker can do is missing: a crash
-- ends this process, max_memory has no effect, a call of C code is not interrupted. An endless
-- loop ends at the deadline only in calls of `with { timeout = … }`. Modules are loaded by
-- `require` as always, once for all tests of this Lua state.
-- @module dirty.testing

local ffi = require "ffi"
local dirty = require "dirty"
local errors = require "dirty.errors"
local exact = require "dirty.json_exact"
local fault = require "dirty.fault"
local options_of = require "dirty.client.options"
local outcome = require "dirty.client.outcome"
local outside = require "dirty.outside"
local spec = require "dirty.config.spec"
local values = require "dirty.values"

local _M = {}

local MAX_ARGS, MAX_MESSAGE, MAX_DEPTH = 255, 64 * 1024 * 1024, 1000
local VALUE_HEAD, COUNT_HEAD = 5, 2 -- bytes in a message
local SERVER_TIMEOUT = 300 -- the default of the option timeout

-- An interrupted call may clean up for so many seconds.
local GRACE = 0.01
-- Instructions between two looks at the clock.
local LOOK_EVERY = 1000

-- -- The system -------------------------------------------------------------------------------

pcall(ffi.cdef, [[
    typedef struct { long sec, nsec; } dirty_testing_time;
    int dirty_testing_clock(int clock, dirty_testing_time *out) __asm__("clock_gettime");
    int dirty_testing_pid(void) __asm__("getpid");
    unsigned dirty_testing_uid(void) __asm__("getuid");
]])

local REALTIME, MONOTONIC = 0, 1

local function now(clock)
    local out = ffi.new("dirty_testing_time")
    ffi.C.dirty_testing_clock(clock, out)
    return tonumber(out.sec) + tonumber(out.nsec) / 1e9
end

-- -- The lane ---------------------------------------------------------------------------------

-- The modules of a lane, which find their host while they load. `dirty` must be loaded before: it
-- takes dirty.outside.
local function load_lane()
    local before = package.loaded["dirty.host"]
    package.loaded["dirty.host"] = {
        booting = function() end,
        cwd = function() end,
        json_encoder = function(cjson, max_depth)
            return exact.encoder(cjson, max_depth)
        end,
        max_depth = MAX_DEPTH,
    }
    local lane = {}
    for _, name in ipairs { "actions", "errors", "json", "loader" } do
        lane[name] = require("dirty.lane." .. name)
    end
    package.loaded["dirty.host"] = before
    return lane
end

local lane = load_lane()
local wire = values.new(MAX_DEPTH)

-- Run f with the functions of `host` in place of those of dirty.outside.
local function with_host(host, f, ...)
    local before = {}
    local hook, mask, count = debug.gethook() -- of luacov, for example: a lane removes hooks
    for name, value in pairs(host) do
        before[name], outside[name] = outside[name], value
    end
    local function leave(ok, ...)
        for name, value in pairs(before) do
            outside[name] = value
        end
        debug.sethook(hook, mask, count)
        if not ok then
            error((...), 0)
        end
        return ...
    end
    return leave(pcall(f, ...))
end

local REQUEST_FIELDS = { id = true, app = true, action = true, metadata = true, deadline = true,
    pid = true, uid = true }

-- What the app sees through `dirty` during a call.
local function host_of(app, call)
    return {
        log = app._host.log,
        request = function(_, name)
            if not REQUEST_FIELDS[name] then
                error(("dirty.request has no field '%s': it has id, app, action, metadata, "
                    .. "deadline, pid, uid"):format(tostring(name)), 2)
            end
            return call[name]
        end,
        remaining = function()
            return call.ends_at and call.ends_at - now(MONOTONIC)
        end,
        caller_is_gone = function()
            return call.gone
        end,
    }
end

-- -- Values -----------------------------------------------------------------------------------

-- What the app gets for the arguments. Raises for one that can't be sent, as a client does.
local function arguments_of(count, ...)
    local list = { ... }
    local tags, err = wire:encode(list, count)
    if not tags then
        error("argument " .. err, 4)
    end
    local ok, wrong = wire:decode(tags, list, count)
    return ok and list, wrong and wrong:gsub("^value", "argument", 1)
end

local function is_plain(value)
    local kind = type(value)
    return kind == "nil" or kind == "boolean" or kind == "number" and value == value
        and value ~= math.huge and value ~= -math.huge
end

-- Encode a result. Returns its text and tag; or nil and why it can't be sent.
local function encode(value, place)
    if type(value) == "string" then
        return value, "b"
    elseif is_plain(value) then
        return (wire:to_json(value)), "j"
    elseif type(value) == "table" or value == dirty.null then
        local ok, text = pcall(lane.json.encode, value)
        if ok then
            return text, "j"
        end
        return nil, lane.json.explain(value, "result " .. place, text)
    end
    return nil, lane.json.explain(value, "result " .. place)
end

-- What the caller gets for results. Returns their list and count; or nil and why they can't be
-- sent.
local function results_of(list, count)
    if count > MAX_ARGS then
        return nil, ("%d results are more than max_args (%d) allows"):format(count, MAX_ARGS)
    end
    local texts, tags, size = {}, {}, COUNT_HEAD
    for i = 1, count do
        local text, tag = encode(list[i], i)
        if not text then
            return nil, tag
        end
        texts[i], tags[i], size = text, tag, size + VALUE_HEAD + #text
    end
    if size > MAX_MESSAGE then
        return nil, ("a result of %.14g bytes is more than max_message (%.14g) allows"):format(size,
            MAX_MESSAGE)
    end
    assert(wire:decode(table.concat(tags), texts, count))
    return texts, count
end

-- -- Errors -----------------------------------------------------------------------------------

-- Make the failure of a call: as `outcome` of a client describes it.
local function failure(call, x, trace)
    local message, code, started, phase, members = lane.errors.describe(x)
    local entry = errors.codes[code] or errors.codes.APP
    local info = members and lane.json.decode("{" .. members .. "}") or {}
    info.app, info.action, info.phase = call.app, call.action, phase
    info.elapsed_ms = (now(MONOTONIC) - call.began) * 1000
    info.pid, info.worker = call.pid, 1
    info.traceback = entry.code ~= "ACTION_NOT_FOUND" and trace or nil
    return { entry.code, message, info, call, started == "no" and "no" or "yes",
        entry.http_status }
end

local function refusal(call, message)
    return failure(call, fault.new("APP", message))
end

local function timeout(call, trace)
    return failure(call, fault.new("TIMEOUT", ("%s.%s ran %d ms"):format(call.app, call.action,
        (now(MONOTONIC) - call.began) * 1000), { phase = "run" }), trace)
end

-- -- Calls ------------------------------------------------------------------------------------

-- The traceback of an app's function that was called by xpcall in a coroutine.
local function traceback_of_app(level)
    local text = debug.traceback("", level + 1):sub(2)
    local ours
    for at in text:gmatch("()\n\t%[C%]: in function 'xpcall'") do
        ours = at
    end
    return text:sub(1, ours and ours - 1)
end

-- Interrupt a call at its deadline: once, and after a while at every instruction.
local function interrupt(call)
    local late = fault.new("TIMEOUT", "the deadline passed while the request ran")
    local raise_at, ours = call.ends_at, coroutine.running()
    local function insist()
        if coroutine.running() ~= ours then -- not our own code
            error(late, 0)
        end
    end
    local function look()
        if now(MONOTONIC) < raise_at or coroutine.running() == ours then
            return
        elseif call.trace then
            debug.sethook(insist, "", 1)
        end
        raise_at = raise_at + GRACE
        call.trace = call.trace or traceback_of_app(2)
        error(late, 0)
    end
    debug.sethook(look, "", LOOK_EVERY)
end

local function pack(...)
    return { n = select("#", ...), ... }
end

local function all(...)
    return ...
end

local function resume(thread, ...)
    local function packed(_, ok, ...)
        return ok, pack(...)
    end
    return packed(coroutine.resume(thread, ...))
end

-- Run f(...) of the app, in a coroutine as a lane has nothing else on its stack. Returns its
-- results with their number `n`; or nil and a failure.
local function run(call, f, ...)
    local trace
    local function on_error(x)
        trace = traceback_of_app(2)
        return x
    end
    local thread = coroutine.create(function(...)
        return all(xpcall(f, on_error, ...)) -- no tail call: a traceback shows xpcall
    end)
    local is_bounded = call.bounded and debug.gethook() == nil
    if is_bounded then -- compiled code runs no hooks
        jit.off()
        jit.flush()
        interrupt(call)
    end
    local ok, out = resume(thread, ...)
    if is_bounded then
        debug.sethook()
        jit.on()
    end
    if call.ends_at and now(MONOTONIC) >= call.ends_at then
        return nil, timeout(call, call.trace)
    elseif coroutine.status(thread) == "suspended" then
        return nil, failure(call, "attempt to yield across C-call boundary")
    elseif not ok then
        return nil, failure(call, out[1], trace)
    end
    if out[1] == nil and out[2] ~= nil then -- nil, err
        return nil, failure(call, out[2])
    end
    return out
end

-- Encode and decode what the app returned.
local function send(call, out)
    local list, count = results_of(out, out.n)
    if not list then
        return nil, refusal(call, count)
    end
    list.n = count
    return list
end

-- Call the action. Returns its values; or nil and a failure; or nil, nil and a stream.
local function begin(call, object, own_call, list, count)
    local out, failed = run(call, own_call or lane.actions.call, object, call.action,
        unpack(list, 1, count))
    if failed then
        return nil, failed
    elseif type(out[1]) == "function" then
        return nil, nil, { f = out[1], state = out[2], control = out[3] }
    end
    return send(call, out)
end

-- The next values of a stream; nil at its end; or nil and a failure.
local function step(call, source)
    local out, failed = run(call, source.f, source.state, source.control)
    if failed or out[1] == nil then
        return nil, failed
    end
    source.control = out[1]
    return send(call, out)
end

-- -- Streams ----------------------------------------------------------------------------------

local stream_methods = {}
local stream_mt = { __index = stream_methods }

local function end_stream(self, failed)
    self._source, self._first = nil, nil
    if failed then
        self.err, self.info = select(2, outcome.failure(unpack(failed, 1, 6)))
    end
end

--- Get the next chunk. A generic `for` calls the stream as a function.
-- @return the chunk's values; nil at the end and after a failure: then `err` and `info` of the
-- stream are as for `execute`
function stream_mt.__call(self)
    local list = self._first
    self._first = nil
    if not list and self._source then
        local failed
        list, failed = with_host(host_of(self._app, self._call), step, self._call, self._source)
        if not list then
            end_stream(self, failed)
        end
    end
    if not list then
        return nil
    elseif list[1] == nil and list.n > 0 then
        list[1] = dirty.null -- nil would end the loop
    end
    return unpack(list, 1, list.n)
end

--- Leave the stream before its end.
function stream_methods:close()
    end_stream(self)
end

-- -- Apps -------------------------------------------------------------------------------------

local methods = {}
local mt = { __index = methods }

local last_id = 0

local function new_call(self, action)
    local settings, at = self._settings, now(MONOTONIC)
    local app_limit = self._timeout > 0 and self._timeout or math.huge
    local seconds = math.min(app_limit, settings.budget_ms / 1000)
    last_id = last_id + 1
    return {
        id = last_id, app = self.name, action = action, began = at, ends_at = at + seconds,
        deadline = now(REALTIME) + seconds, bounded = settings.bounded, gone = settings.gone,
        metadata = settings.metadata and lane.json.decode(settings.metadata),
        pid = ffi.C.dirty_testing_pid(), uid = ffi.C.dirty_testing_uid(),
    }
end

-- Make the call. Returns what `begin` does, and the call.
local function perform(self, action, count, ...)
    options_of.check_names(self.name, action, 4)
    local call = new_call(self, action)
    local list, wrong = arguments_of(count, ...)
    if not list then
        return nil, failure(call, fault.new("PROTOCOL", wrong, { started = "no" })), nil, call
    end
    local out, failed, source = with_host(host_of(self, call), begin, call, self.object,
        self._call, list, count)
    return out, failed, source, call
end

--- Call an action.
-- @tparam string action
-- @param[opt] ... arguments
-- @return the action's values; or nil, err, info, as a client returns them (dirty.client.outcome)
function methods:execute(action, ...)
    local out, failed, source, call = perform(self, action, select("#", ...), ...)
    if source then -- a runtime sends the first chunk, which a plain call refuses
        out, failed = with_host(host_of(self, call), step, call, source)
        if not failed then
            return outcome.own(errors.codes.PROTOCOL, ("%s.%s streams its result: use stream, a "
                .. "plain call takes a single answer"):format(call.app, action), "yes", call,
                (now(MONOTONIC) - call.began) * 1000)
        end
    end
    if failed then
        return outcome.failure(unpack(failed, 1, 6))
    end
    return unpack(out, 1, out.n)
end

--- Call an action that streams, up to its first chunk.
-- @tparam string action if it doesn't stream, its values come as one chunk
-- @param[opt] ... arguments
-- @treturn table|nil a stream: call it for the next chunk, as a generic `for` does; `close` leaves
-- it. A failure is in its fields `err` and `info`. Or nil, err, info if there is no first chunk
function methods:stream(action, ...)
    local out, failed, source, call = perform(self, action, select("#", ...), ...)
    if source then
        out, failed = with_host(host_of(self, call), step, call, source)
    end
    if failed then
        return outcome.failure(unpack(failed, 1, 6))
    end
    return setmetatable({ _app = self, _call = call, _source = out and source, _first = out },
        stream_mt)
end

--- Call an action that streams and collect its chunks.
-- @tparam string action
-- @param[opt] ... arguments
-- @treturn table a list with an entry for each chunk: its value, or a table of its values if it has
-- several
-- @treturn string|nil err, if the stream failed after these chunks
-- @treturn table|nil info
function methods:collect(action, ...)
    local chunks, stream, err, info = {}, self:stream(action, ...)
    if not stream then
        return chunks, err, info
    end
    while true do
        local chunk = pack(stream())
        if chunk[1] == nil then
            return chunks, stream.err, stream.info
        end
        chunks[#chunks + 1] = chunk.n == 1 and chunk[1] or { unpack(chunk, 1, chunk.n) }
    end
end

--- Make calls with other options. They run on the same object.
-- @tparam table options `timeout` (seconds of the whole call; an endless loop ends then),
-- `metadata` (a table, dirty.request.metadata), `priority` (has no effect), `gone` (true: the
-- caller has hung up, as `dirty.check` sees it)
-- @treturn table with the methods of an app
function methods:with(options)
    local known = {}
    for name, value in pairs(type(options) == "table" and options or {}) do
        known[name] = name ~= "gone" and value or nil
    end
    options_of.check(type(options) == "table" and known or options, options_of.OF_CALLS)
    local settings, err = options_of.settings(known, self._settings, wire)
    if not settings then
        error(err, 2)
    end
    settings.bounded = options.timeout ~= nil or self._settings.bounded
    settings.gone = options.gone or false
    local other = setmetatable({}, mt)
    for name, value in pairs(self) do
        other[name] = value
    end
    other._settings = settings
    return other
end

--- Close the app: call its close(). What that raises is in `log`.
function methods:close()
    with_host(self._host, lane.loader.close, self.object)
end

-- Where an app is loaded from that was given as a table.
local GIVEN = "dirty.testing.app"

-- The entry of the configuration for an app.
local function entry_of(app, options)
    local entry, err
    if type(app) == "table" then
        entry = { module = GIVEN, name = "app" }
    elseif type(app) == "string" then
        entry, err = spec.parse(app)
    else
        err = ("the app must be a module's name or a table, is a %s"):format(type(app))
    end
    if not entry then
        error(err, 3)
    end
    entry.name = options.name or entry.name
    entry.options = spec.options_json(options.options)
    return entry
end

-- What the app declares and the options say, as a runtime would take it.
local function timeout_of(entry, options)
    local table_of = package.loaded[entry.module]
    local declared = dirty.declared(entry.object and table_of[entry.object] or table_of)
    return options.timeout or declared.timeout or SERVER_TIMEOUT
end

--- Load an app and make its object: new(options), init(options).
-- @tparam string|table app its spec, as `dirty serve --app` takes it ("myapp.images",
-- "myapp.images:Object"), or its table
-- @tparam[opt] table options `options` (what init gets), `name` (in calls; default the spec),
-- `timeout` (seconds, instead of what the app declares)
-- @treturn table|nil the app. Its fields are `object` (what `self` is in actions), `name`, and
-- `log`, a list of what it logged by dirty.log: `{level=, message=, fields=}`
-- @treturn nil|string what failed, with the phase
-- @treturn nil|table `phase` ("load", "new", "init"), `message`, `traceback`
function _M.open(app, options)
    options = options or {}
    local entry = entry_of(app, options)
    local log = {}
    local host = { log = function(level, message, fields)
        log[#log + 1] = { level = level, message = message, fields = fields }
    end }
    package.loaded[GIVEN] = type(app) == "table" and app or nil
    local object, own_call, failed = with_host(host, lane.loader.open, entry)
    if not object then
        package.loaded[GIVEN] = nil
        return nil, ("%s: %s"):format(failed.phase, failed.message), failed
    end
    local self = setmetatable({ name = entry.name, object = object, log = log, _host = host,
        _call = own_call, _settings = options_of.SETTINGS, _timeout = timeout_of(entry, options) },
        mt)
    package.loaded[GIVEN] = nil
    return self
end

return _M
