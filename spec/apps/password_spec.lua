--- apps/password.lua, run as a lane runs it.

local testing = require "dirty.testing"

-- Nothing of it depends on a worker, so it needs no runtime.
describe("apps.password", function()
    local function start(options)
        return assert(testing.open("apps.password", { options = options }))
    end

    it("hashes with yescrypt and verifies", function()
        local app = start {}
        local hash = assert(app:execute("hash", "correct horse"))
        assert.truthy(hash:find("^%$y%$"), hash)
        assert.is_true(app:execute("verify", "correct horse", hash))
        assert.is_false(app:execute("verify", "wrong horse", hash))
        -- another salt each time
        assert.are_not.equal(hash, app:execute("hash", "correct horse"))
    end)

    it("hashes with bcrypt of a given cost", function()
        local app = start { method = "bcrypt", cost = 4 }
        local hash = assert(app:execute("hash", "secret"))
        assert.truthy(hash:find("^%$2b%$04%$"), hash)
        assert.is_true(app:execute("verify", "secret", hash))
    end)

    it("verifies hashes of other methods, and knows none where there is none", function()
        local app = start {}
        -- as `openssl passwd -6 -salt saltstring` makes it
        local sha512 = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnI"
            .. "FNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
        assert.is_true(app:execute("verify", "Hello world!", sha512))
        for _, bad in ipairs { "", "x", "$y$", "$nope$abc$def", "*0" } do
            assert.is_false(app:execute("verify", "Hello world!", bad), bad)
        end
    end)

    it("refuses what is no password", function()
        local app = start {}
        local _, err = app:execute("hash", "a\0b")
        assert.truthy(err:find("^APP: .*NUL"), err)
        _, err = app:execute("hash", ("x"):rep(600))
        assert.truthy(err:find("511 bytes", 1, true), err)
    end)

    it("gives the values that it promises and no more", function()
        local app = start {}
        local function count(...) return select("#", ...) end
        assert.equal(1, count(app:execute("hash", "secret")))
        assert.equal(1, count(app:execute("verify", "secret", "x")))
    end)

    it("says which argument is wrong, and shows no password", function()
        local app = start {}
        local null = require("cjson").null
        for _, case in ipairs {
            { "hash: the password must be a string, not a number", "hash", 12345 },
            { "hash: the password must be a string, not a nil", "hash" },
            { "hash: the password must be a string, not a nil", "hash", null },
            { "hash: the password must be a string, not a table", "hash", { "secret" } },
            { "verify: the password must be a string, not a boolean", "verify", true, "x" },
            { "verify: the hash, its second argument, must be a string without NUL, not a nil",
                "verify", "secret" },
            { "verify: the hash, its second argument, must be a string without NUL, not a number",
                "verify", "secret", 5 },
            { "verify: the hash, its second argument, must be a string without NUL, not one with "
                .. "it",
                "verify", "secret", "a\0b" },
            { "verify: a password must have no NUL", "verify", "sec\0ret", "x" },
        } do
            local _, err, info = app:execute(unpack(case, 2, 4))
            assert.equal("APP", info.code)
            assert.equal(1, info.message:find(case[1], 1, true), info.message)
            assert.is_nil(err:find("secret", 1, true), err)
            assert.is_nil(err:find("12345", 1, true), err)
        end
    end)

    it("says at boot what is wrong with its options", function()
        for words, options in pairs { ["rot13"] = { method = "rot13" },
            ["cost 99"] = { cost = 99 }, ["cost must be a whole number"] = { cost = 1.5 },
            ["cost must be a whole"] = { cost = -1 },
            ["default, not '5'"] = { cost = "5" },
            ["method must be yescrypt"] = { method = 5 },
            ["unknown option 'costs' (did you mean 'cost'?)"] = { costs = 5 } } do
            local app, err = testing.open("apps.password", { options = options })
            assert.is_nil(app)
            assert.truthy(err:find(words, 1, true), err)
        end
    end)
end)
