-- What a terminal is given of long and strange words, and the page of `dirty status`.
local cjson = require "cjson"
local process = require "support.process"

local function contains(text, part)
    assert.truthy(text:find(part, 1, true), ("%q is not in:\n%s"):format(part, text))
end

describe("output to a terminal", function()
    local printable = require "dirty.cli.printable"

    it("has escapes in place of what it would take for a command", function()
        for text, wanted in pairs {
            ["plain\ttext"] = "plain\ttext", ["\27[2J"] = "\\x1b[2J", ["a\rb"] = "a\\x0db",
            ["\0\7\8\127"] = "\\x00\\x07\\x08\\x7f", [""] = "",
            ["\155" .. "1m"] = "\\x9b1m", ["\194\155" .. "1m"] = "\\u009b1m",
            ["\194\160\195\169\226\130\172"] = "\194\160\195\169\226\130\172",
            ["\240\159\144\159"] = "\240\159\144\159", ["\240\159\144"] = "\\xf0\\x9f\\x90",
            ["\226\128\174x"] = "\\u202ex", ["\226\129\166x"] = "\\u2066x",
            ["\226\128\168"] = "\\u2028", ["\195"] = "\\xc3", ["\195\27"] = "\\xc3\\x1b",
            ["\192\155"] = "\\xc0\\x9b", ["\224\130\155"] = "\\xe0\\x82\\x9b",
            ["\237\160\128"] = "\\xed\\xa0\\x80",
            ["\244\144\128\128"] = "\\xf4\\x90\\x80\\x80",
        } do
            assert.equal(wanted, printable.value(text))
            assert.equal(wanted, printable.line(text))
            assert.equal(wanted, printable.block(text))
        end
        assert.equal("a\nb\n", printable.value("a\r\nb\n"))
        assert.equal("a\\nb\\n", printable.line("a\nb\n"))
        assert.equal("a\n    b\n    \n    c", printable.block("a\nb\n\nc\n\n"))
    end)

    it("is the same JSON", function()
        local value = {}
        for code = 0, 127 do
            value[#value + 1] = string.char(code)
        end
        value[#value + 1] = "\194\155\226\128\174\195\169"
        local text = cjson.encode(value)
        assert.same(value, cjson.decode(printable.json(text)))
        assert.equal('["\\u009b","\\u202e\195\169","\\u001b[2J","\\ufffd"]\n', printable.json(
            '["\194\155","\226\128\174\195\169","\27[2J","\155"]\n'))
    end)

    it("is written by one module alone", function()
        local files = process.run({ "sh", "-c", "grep -lE 'io[.](stdout|stderr|write)|print[(]' "
            .. "lua/dirty/cli.lua lua/dirty/cli/*.lua" })
        assert.equal("lua/dirty/cli/say.lua\n", files.stdout)
    end)
end)

describe("the page of dirty status", function()
    local page = require "dirty.cli.status_page"
    local units = require "dirty.units"

    local function text_of(status)
        return table.concat(page.lines(status), "\n") .. "\n"
    end

    it("shows what there is and passes over what there is not", function()
        local null = cjson.null
        for _, answer in ipairs {
            {}, { arbiter = null, workers = null, apps = null, queue = null, counters = null },
            { arbiter = 5, workers = "x", apps = { a = 1 }, counters = { errors = true } },
            { workers = { {}, { lanes = { {}, { app = "a" } } }, null }, apps = { [""] = {} } },
            { workers = { { pid = null, lanes = { { lua_bytes = "?" } }, apps = { 1, true } } } },
            { queue = { oldest_ms = "late" }, counters = { new = 7, names = { a = 1 } } },
            { reload = null }, { reload = { state = null, last = null } },
            { reload = { state = "covering", last = { number = 1 } } },
            { reload = 7, arbiter = { supervisor_pid = null, restarts = "?" } },
            { workers = { { retry_in_ms = "?", boot_failures = null, last_exit = {} } },
                apps = { a = { circuit = "open", retry_in_ms = null, ready = null } } },
        } do
            assert.truthy(text_of(answer):find("counters: ", 1, true))
            assert.is_string(page.not_ready(answer))
        end
        assert.truthy(text_of({ counters = { new = 7 } }):find("new 7", 1, true))
    end)

    it("tells if another version is installed than the one that runs", function()
        local status = { versions = { dirty = "0.1.0" } }
        assert.equal("version 0.1.0 runs, 0.2.0 is installed: `dirty upgrade` puts it in place",
            page.lines(status, "0.2.0")[1])
        for _, line in ipairs(page.lines(status, "0.1.0")) do
            assert.falsy(line:find("installed", 1, true))
        end
    end)

    it("tells what went wrong, and what is about to happen", function()
        local text = text_of {
            arbiter = { pid = 9, supervisor_pid = 8, restarts = 2, last_exit = "signal 9" },
            queue = { length = 3, limit = 5, oldest_ms = 1500 },
            reload = { number = 4, state = "covering",
                last = { number = 3, result = "failed", ago_s = 61, reason = "no such app" } },
            workers = {
                { number = 1, state = "ready", last_exit = "exit status 0", lanes = {
                    { app = "a", action = "b", state = "running", running_ms = 2500 } } },
                { number = 2, state = "waiting", last_exit = "signal 11 (SIGSEGV)",
                    boot_failures = 6, circuit = "open", retry_in_ms = 3200 },
            },
            apps = { a = { workers = 2, ready = 0, circuit = "open", retry_in_ms = 3200,
                queued = 3, max_queue = 5, oldest_ms = 1500 } },
        }
        for _, part in ipairs {
            "under supervisor pid 8, restarted 2 times, last after: signal 9",
            "queue 3 of 5, oldest waits 1.5 s", "reload 4: covering\n",
            "reload 3: failed, 1 m 1 s ago: no such app", "running a.b for 2.5 s",
            "worker 2: last exit: signal 11 (SIGSEGV); 6 boots failed in a row; circuit open; "
                .. "next boot in 3.2 s", "0 of 2  open, retry in 3.2 s  3 of 5  1.5 s",
        } do
            contains(text, part)
        end
        assert.falsy(text:find("worker 1:", 1, true))
    end)

    it("says why the runtime is not ready", function()
        assert.is_nil(page.not_ready { ready = true })
        assert.equal("the runtime is serving: app a has no ready worker (of 2), its circuit is "
            .. "open; app c has no ready worker (of 1)", page.not_ready { ready = false,
            arbiter = { state = "serving" }, apps = { a = { ready = 0, workers = 2,
                circuit = "open" }, b = { ready = 1, workers = 1 }, c = { ready = 0, workers = 1,
                circuit = "closed" } } })
        assert.equal("the runtime is draining", page.not_ready { ready = false,
            arbiter = { state = "draining" }, apps = { a = { ready = 1 } } })
    end)

    it("says times and sizes as people do", function()
        assert.equal("0.3 s", units.duration(0.25))
        assert.equal("1 m 30 s", units.duration(90))
        assert.equal("2 h 0 m", units.duration(7201))
        assert.equal("3 d 1 h", units.duration(3 * 86400 + 3600))
        assert.equal("-", units.duration(nil))
        assert.equal("999 B", units.size(999))
        assert.equal("1.5 MB", units.size(1.5e6))
        assert.equal("-", units.size(cjson.null))
    end)
end)
