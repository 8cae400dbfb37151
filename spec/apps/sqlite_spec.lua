--- apps/sqlite.lua, run as a lane runs it; and by two workers at once.
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"
local testing = require "dirty.testing"

describe("apps.sqlite", function()
    local dir, path, app

    before_each(function()
        dir = tempdir.new()
        path = dir .. "/notes.db"
        app = assert(testing.open("apps.sqlite", { name = "notes", options = { path = path } }))
    end)
    after_each(function()
        app:close()
        tempdir.remove(dir)
    end)

    it("keeps notes", function()
        local id = assert(app:execute("add", "buy milk"))
        local note = app:execute("get", id)
        assert.equal("buy milk", note.text)
        assert.is_true(math.abs(note.at - os.time()) < 60)
        assert.is_nil((app:execute("get", id + 1)))
        assert.is_true(app:execute("remove", id))
        assert.is_false(app:execute("remove", id))
        assert.is_nil((app:execute("get", id)))
    end)

    it("keeps them for the next object", function()
        app:execute("add", "later")
        app:close()
        app = assert(testing.open("apps.sqlite", { options = { path = path } }))
        assert.equal("later", app:execute("search", "later")[1].text)
    end)

    it("finds the latest first, and no patterns", function()
        for _, text in ipairs { "one 100%", "two", "three 100_" } do
            app:execute("add", text)
        end
        assert.equal("three 100_", app:execute("search", "100")[1].text)
        assert.equal(2, #app:execute("search", "100"))
        assert.equal(1, #app:execute("search", "100%"))
        assert.equal(1, #app:execute("search", "100", 1))
        assert.same({}, app:execute("search", "four"))
    end)

    it("refuses the same text twice, and goes on", function()
        app:execute("add", "once")
        local connection = app.object.connection
        local id, err = app:execute("add", "once")
        assert.is_nil(id)
        assert.equal("APP: UNIQUE constraint failed: notes.text", err)
        assert.equal(2, (app:execute("add", "twice")))
        assert.equal(connection, app.object.connection)
    end)

    it("imports all or none", function()
        assert.equal(2, (app:execute("import", { "a", "b" })))
        local _, err = app:execute("import", { "c", "a", "d" })
        assert.equal("APP: UNIQUE constraint failed: notes.text", err)
        assert.same({ { "a" }, { "b" } }, { { app:execute("get", 1).text },
            { app:execute("get", 2).text } })
        assert.same({}, app:execute("search", "c"))
        assert.equal(3, (app:execute("add", "c")))
    end)

    it("streams, and a caller that leaves disturbs nobody", function()
        app:execute("import", { "a", "b", "c" })
        local function texts()
            local out = {}
            for i, note in ipairs((app:collect("all"))) do
                out[i] = note.text
            end
            return table.concat(out)
        end
        assert.equal("abc", texts())
        local stream = app:stream("all")
        assert.equal("a", stream().text)
        stream:close()
        assert.equal("abc", texts())
        assert.equal(4, (app:execute("add", "d")))
    end)

    it("connects anew after an error: reads at once, writes at the next call", function()
        app:execute("add", "a")
        app.object.connection:close() -- as if it were lost
        assert.equal("a", app:execute("get", 1).text)
        assert.equal("the database failed: connecting anew", app.log[1].message)
        app.object.connection:close()
        local _, err = app:execute("add", "b")
        assert.truthy(err:find("^APP: "), err)
        assert.equal(2, (app:execute("add", "b")))
    end)

    it("says what is wrong with its options and arguments", function()
        local _, err = testing.open("apps.sqlite")
        assert.equal("init: options.path must be the path of the database", err)
        _, err = testing.open("apps.sqlite", { options = { path = "/nonexistent/x.db" } })
        assert.truthy(err:find("init: /nonexistent/x.db: .*unable to open"), err)
        for _, case in ipairs {
            { "add: a note must be a text without NUL", "add", "a\0b" },
            { "add: a note must be a text without NUL", "add" },
            { "get: the id must be a whole number", "get", "1" },
            { "search: the limit must be a whole number", "search", "x", 1.5 },
            { "import: a note must be a text without NUL", "import", { 1 } },
        } do
            _, err = app:execute(unpack(case, 2, 4))
            assert.equal("APP: " .. case[1], err)
        end
    end)

    it("serves several workers from one file", function()
        local rt = runtime.start { config = ([[workers = 2
            apps = { notes = { module = "apps.sqlite", options = { path = %q } } }]]):format(path) }
        finally(function() rt:close() end)
        for i = 1, 20 do
            assert.equal(i, (rt:call("notes", "add", "note " .. i)))
        end
        assert.equal(20, #rt:call("notes", "search", "note"))
        assert.equal(20, #app:execute("search", "note"))
    end)
end)
