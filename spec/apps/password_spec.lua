--- apps/password.lua on the running system.

local runtime = require "support.runtime"

describe("apps.password", function()
    local rt

    after_each(function()
        if rt then rt:close() end
        rt = nil
    end)

    local function start(options)
        rt = runtime.start {
            config = ([[workers = 1
                apps = { password = { module = "apps.password", options = { %s } } }]])
                :format(options),
        }
        return rt:client()
    end

    it("hashes with yescrypt and verifies", function()
        local client = start ""
        local hash = assert(client:execute("password", "hash", "correct horse"))
        assert.truthy(hash:find("^%$y%$"), hash)
        assert.is_true(client:execute("password", "verify", "correct horse", hash))
        assert.is_false(client:execute("password", "verify", "wrong horse", hash))
        -- another salt each time
        assert.are_not.equal(hash, client:execute("password", "hash", "correct horse"))
    end)

    it("hashes with bcrypt of a given cost", function()
        local client = start [[method = "bcrypt", cost = 4]]
        local hash = assert(client:execute("password", "hash", "secret"))
        assert.truthy(hash:find("^%$2b%$04%$"), hash)
        assert.is_true(client:execute("password", "verify", "secret", hash))
    end)

    it("verifies hashes of other methods, and knows none where there is none", function()
        local client = start ""
        -- as `openssl passwd -6 -salt saltstring` makes it
        local sha512 = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnI"
            .. "FNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
        assert.is_true(client:execute("password", "verify", "Hello world!", sha512))
        for _, bad in ipairs { "", "x", "$y$", "$nope$abc$def", "*0" } do
            assert.is_false(client:execute("password", "verify", "Hello world!", bad), bad)
        end
    end)

    it("refuses what is no password", function()
        local client = start ""
        local _, err = client:execute("password", "hash", "a\0b")
        assert.truthy(err:find("^APP: .*NUL"), err)
        _, err = client:execute("password", "hash", ("x"):rep(600))
        assert.truthy(err:find("511 bytes", 1, true), err)
    end)

    it("gives the values that it promises and no more", function()
        local client = start ""
        local function count(...) return select("#", ...) end
        assert.equal(1, count(client:execute("password", "hash", "secret")))
        assert.equal(1, count(client:execute("password", "verify", "secret", "x")))
    end)

    it("says which argument is wrong, and shows no password", function()
        local client = start ""
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
            local _, err, info = client:execute("password", unpack(case, 2, 4))
            assert.equal("APP", info.code)
            assert.equal(1, info.message:find(case[1], 1, true), info.message)
            assert.is_nil(err:find("secret", 1, true), err)
            assert.is_nil(err:find("12345", 1, true), err)
        end
    end)

    it("says at boot what is wrong with its options", function()
        for options, words in pairs { ['method = "rot13"'] = "rot13", ["cost = 99"] = "cost 99",
            ["cost = 1.5"] = "cost must be a whole number", ["cost = -1"] = "cost must be a whole",
            ['cost = "5"'] = "cost must be a whole number",
            ["method = 5"] = "method must be yescrypt",
            ["costs = 5"] = "unknown option 'costs' (did you mean 'cost'?)" } do
            local ok, err = pcall(start, options)
            assert.is_false(ok)
            assert.truthy(tostring(err):find(words, 1, true), tostring(err))
        end
    end)
end)
