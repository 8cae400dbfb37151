-- State that all code of a process or thread shares: what one app, or a library in it, changes
-- must reach neither the runtime nor another app's answers.
local locale = require "support.locale"
local runtime = require "support.runtime"
local signal = require "posix.signal"
local stat = require "posix.sys.stat"
local tempdir = require "support.tempdir"
local wait = require "support.wait"

-- It changes what it can.
local VANDAL = [[
local ffi = require "ffi"
ffi.cdef [=[
    typedef struct { unsigned long bits[16]; } vandal_set;
    typedef struct { void *base; int flags; size_t size; } vandal_stack;
    int vandal_mask(int how, const vandal_set *set, vandal_set *old) __asm__("pthread_sigmask");
    int vandal_fill(vandal_set *set) __asm__("sigfillset");
    void *vandal_signal(int number, void *handler) __asm__("signal");
    int vandal_altstack(const vandal_stack *stack, void *old) __asm__("sigaltstack");
    void *vandal_newlocale(int mask, const char *name, void *base) __asm__("newlocale");
    void *vandal_uselocale(void *locale) __asm__("uselocale");
    int vandal_round(int mode) __asm__("fesetround");
    unsigned vandal_umask(unsigned mask) __asm__("umask");
    int vandal_chdir(const char *path) __asm__("chdir");
    int vandal_close(int fd) __asm__("close");
    int vandal_setenv(const char *name, const char *value, int change) __asm__("setenv");
    void vandal_tzset(void) __asm__("tzset");
    int vandal_getpid(void) __asm__("getpid");
    int vandal_usleep(unsigned us) __asm__("usleep");
]=]
local C = ffi.C
local Vandal = {}
local stack = ffi.new("char[?]", 4096)

function Vandal:locale(name)
    return os.setlocale(name, "numeric")
end
function Vandal:thread_locale(name)
    local made = C.vandal_newlocale(2, name, nil) -- of numbers
    C.vandal_uselocale(made)
    return made ~= nil
end
function Vandal:rounding() return C.vandal_round(0x800) end -- up, on x86-64
function Vandal:signals()
    local all = ffi.new "vandal_set"
    C.vandal_fill(all)
    C.vandal_mask(0, all, nil)
    for _, number in ipairs { 10, 13, 23, 25 } do -- USR1, PIPE, URG, XFSZ
        C.vandal_signal(number, ffi.cast("void *", number == 10 and 1 or 0))
    end
    C.vandal_altstack(ffi.new("vandal_stack", stack, 0, 4096), nil)
    C.vandal_usleep(2000) -- a long call
end
function Vandal:masks() return C.vandal_umask(0x1ff) end
function Vandal:chdir(path) return C.vandal_chdir(path) end
function Vandal:close_stdio(from, to)
    for fd = from, to do C.vandal_close(fd) end
end
function Vandal:buffer() io.stdout:setvbuf("full") end
function Vandal:time_zone()
    C.vandal_setenv("TZ", "Asia/Tokyo", 1)
    C.vandal_tzset()
end
function Vandal:pid() return C.vandal_getpid() end
return Vandal]]

-- It works beside it.
local NEIGHBOUR = [[
local cjson = require "cjson"
local dirty = require "dirty"
local Neighbour = {}
function Neighbour:numbers(...) return { 1.5, 0.1 + 0.2, 1e300 }, 1.5, ... end
function Neighbour:own_json() return cjson.encode { 1.5 }, cjson.decode("[2.5]")[1] end
function Neighbour:fail() error { share = 0.5 } end
function Neighbour:loop() while true do end end
function Neighbour:lazy() return require "later" end
function Neighbour:say(text)
    io.stdout:write(text)
    io.stderr:write(text)
end
function Neighbour:print(text) io.write(text) end
function Neighbour:log(text) dirty.log.info(text) end
return Neighbour]]

describe("process state that apps share", function()
    local rt

    local function start(more)
        local o = { files = { ["vandal.lua"] = VANDAL, ["neighbour.lua"] = NEIGHBOUR,
            ["later.lua"] = "return 'found'" },
            config = [[workers = 1; apps = { "vandal", "neighbour" }]] }
        for key, value in pairs(more or {}) do
            o[key] = value
        end
        rt = runtime.start(o)
    end

    after_each(function()
        if rt then rt:close() end
        rt = nil
    end)

    -- Numbers, both ways, at all places.
    local function assert_right_numbers()
        for _ = 1, 2 do
            local list, one, arg = rt:call("neighbour", "numbers", { 0.3, 2.5 })
            assert.same({ 1.5, 0.1 + 0.2, 1e300 }, list)
            assert.equal(1.5, one)
            assert.same({ 0.3, 2.5 }, arg)
            local text, number = rt:call("neighbour", "own_json")
            assert.equal("[1.5]", text)
            assert.equal(2.5, number)
            local _, _, info = rt:call("neighbour", "fail")
            assert.equal("APP", info.code)
            assert.same({ share = 0.5 }, info.error)
            assert.equal("number", type(info.elapsed_ms)) -- the details were JSON
        end
    end

    describe("numbers", function()
        local dir
        before_each(function()
            dir = tempdir.new()
            start { env = { LOCPATH = locale.make(dir) } }
        end)
        after_each(function() tempdir.remove(dir) end)

        it("use a decimal point in any locale of the process", function()
            assert.equal(locale.COMMA, rt:call("vandal", "locale", locale.COMMA))
            assert_right_numbers()
        end)

        it("use a decimal point when an app sets the locale of its thread", function()
            assert.is_true(rt:call("vandal", "thread_locale", locale.COMMA))
            assert_right_numbers()
        end)

        it("are rounded as usual when an app had the FPU round up", function()
            assert.equal(0, rt:call("vandal", "rounding"))
            assert_right_numbers()
        end)
    end)

    it("may be in another locale in the configuration: status and metrics stay as they are",
        function()
            local dir = tempdir.new()
            finally(function() tempdir.remove(dir) end)
            start { env = { LOCPATH = locale.make(dir) }, config = ([[
                assert(os.setlocale(%q, "numeric"))
                workers = 1; apps = { "vandal", "neighbour" }]]):format(locale.COMMA) }
            assert.equal("number", type(rt:status().arbiter.uptime_s))
            assert.is_nil(rt:command("metrics").stdout:find("%d,%d"))
            assert_right_numbers()
        end)

    it("signals and an alternate stack: late calls end softly all the same", function()
        start()
        local pid = rt:call("vandal", "pid")
        rt:call("vandal", "signals")
        local _, err, info = rt:client { timeout = 0.6 }:execute("neighbour", "loop")
        assert.equal("TIMEOUT", info.code, err)
        assert.truthy(info.traceback, err)
        assert.equal(pid, rt:call("vandal", "pid"))
        local log = rt:log()
        for _, name in ipairs { "SIGURG", "SIGUSR1", "SIGPIPE" } do
            local line = "restoring it\" signal=" .. name .. " after=\"vandal\""
            assert.truthy(log:find(line, 1, true), log)
        end
    end)

    it("umask and time zone: the log is made and written as ever", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        local path = dir .. "/log"
        rt = runtime.launch { args = { "--log-file", path },
            files = { ["vandal.lua"] = VANDAL, ["neighbour.lua"] = NEIGHBOUR },
            config = [[workers = 1; apps = { "vandal", "neighbour" }]],
            wrap = { "sh", "-c", 'umask 027; exec "$@"', "sh" } }
        wait.until_true(function()
            local file = io.open(path)
            return file and file:close() and rt:is_ready(tempdir.read(path))
        end, 20, "ready")
        rt:call("vandal", "masks")
        rt:call("vandal", "time_zone")
        os.rename(path, path .. ".1")
        signal.kill(rt:call("vandal", "pid"), signal.SIGUSR1)
        wait.until_true(function() return stat.stat(path) end, 10, "a new log")
        assert.equal(tonumber("640", 8), stat.stat(path).st_mode % 512)
        rt:call("neighbour", "log", "in the new one")
        local line = tempdir.read(path):match "[^\n]*in the new one[^\n]*"
        assert.equal(os.date("!%Y-%m-%dT%H", os.time()), line:match "ts=(.-):", line)
    end)

    it("the working directory: modules are found where they were", function()
        local dir = tempdir.new()
        finally(function() tempdir.remove(dir) end)
        local files = { vandal = VANDAL, neighbour = NEIGHBOUR, later = "return 'found'" }
        for name, text in pairs(files) do
            tempdir.write(dir .. "/" .. name .. ".lua", text)
        end
        rt = runtime.start { cwd = dir, args = { "--lua-path", "./?.lua", "--workers", "1" },
            apps = { "vandal", "neighbour" } }
        assert.equal(0, rt:call("vandal", "chdir", "/"))
        assert.equal("found", rt:call("neighbour", "lazy"))
    end)

    it("the descriptors of stdio: what is printed reaches no caller", function()
        for _, range in ipairs { { 1, 1 }, { 2, 2 }, { 0, 2 } } do
            start()
            rt:call("vandal", "close_stdio", unpack(range))
            for _ = 1, 4 do
                local value, err = rt:call("neighbour", "say", "to nobody\n")
                assert.is_nil(err)
                assert.is_nil(value)
            end
            assert.equal(1.5, select(2, rt:call("neighbour", "numbers")))
            rt:close()
        end
    end)

    it("the buffer of stdout: what is printed is out when the call is over", function()
        start()
        rt:call("vandal", "buffer")
        rt:call("neighbour", "print", "printed by a neighbour\n")
        wait.until_true(function() return rt:log():find("printed by a neighbour", 1, true) end, 10,
            "what was printed")
    end)

    it("is listed for authors", function()
        local text = tempdir.read("docs/apps.md"):match "\n## What apps share\n(.-)\n## "
        for _, word in ipairs { "locale", "FPU", "signal", "alternate stack", "umask",
            "working directory", "time zone", "limits", "stdout", "environment" } do
            assert.truthy(text:find(word, 1, true), word)
        end
    end)
end)
