local dirty = require "dirty"

describe("dirty.app", function()
    it("creates a table that does not contain its options", function()
        local app = dirty.app { workers = 2, timeout = 1.5, max_queue = 1 }
        assert.same({}, app)
        assert.same({ workers = 2, timeout = 1.5, max_queue = 1 }, dirty.declared(app))
    end)

    it("takes no options at all", function()
        assert.same({}, dirty.declared(dirty.app()))
        assert.same({}, dirty.declared(dirty.app {}))
        assert.same({}, dirty.declared({}))
    end)

    it("gives declarations out as copies", function()
        local app = dirty.app { workers = 2 }
        dirty.declared(app).workers = 9
        assert.equal(2, dirty.declared(app).workers)
    end)

    it("raises for an unknown option and names the nearest", function()
        assert.has_error(function() dirty.app { timout = 5 } end,
            "dirty.app has no option 'timout' (did you mean 'timeout'?)")
        assert.has_error(function() dirty.app { 5 } end, "dirty.app has no option '1'")
    end)

    it("raises for invalid values", function()
        local wrong = {
            { workers = 0 }, { workers = 1.5 }, { workers = "2" }, { workers = 0 / 0 },
            { timeout = -1 }, { timeout = "5" }, { timeout = math.huge }, { max_queue = 0 },
        }
        for _, options in ipairs(wrong) do
            local name = next(options)
            local ok, err = pcall(dirty.app, options)
            assert.is_false(ok)
            assert.truthy(err:find("dirty.app: " .. name, 1, true))
        end
    end)

    it("raises at the caller's line for a value that is not a table", function()
        local ok, err = pcall(function() dirty.app("echo") end)
        assert.is_false(ok)
        assert.truthy(err:find("dirty_spec.lua:%d+: dirty.app takes a table"))
    end)
end)

describe("dirty outside of a worker", function()
    it("knows no request", function()
        assert.is_nil(dirty.request.id)
        assert.is_nil(dirty.request.app)
        assert.has_error(function() dirty.request.id = 1 end, "dirty.request is read-only")
    end)

    it("has no time limit", function()
        assert.equal(math.huge, dirty.remaining())
        assert.has_no_error(dirty.check)
    end)

    it("knows null and no other name", function()
        assert.equal(require("cjson").null, dirty.null)
        assert.is_nil(dirty.no_such_thing)
    end)

    it("logs to stderr, fields in the order of their names", function()
        local written = {}
        local real = io.stderr
        io.stderr = { write = function(_, ...) -- luacheck: ignore 122
            written[#written + 1] = table.concat({ ... })
        end }
        finally(function() io.stderr = real end) -- luacheck: ignore 122
        dirty.log.info("hello", { b = "two words", a = 1, ["c d"] = 'say "so"\n' })
        dirty.log.warn("bare")
        dirty.log.error("\27[2J\nok: \194\1552J", { name = "\27]0;x\7",
            plain = "caf\195\169\194\155" })
        assert.same({
            'info: hello a=1 b="two words" c_d="say \\"so\\"\\n"\n',
            "warn: bare\n",
            'error: ?[2J\\nok: ?2J name="?]0;x?" plain=caf\195\169?\n',
        }, written)
    end)
end)
