local of_apps = require("dirty.cli.paths").of_apps

describe("the search paths of apps", function()
    local templates = { lua = "/rt/?.lua", default_lua = "/usr/?.lua;/usr/?/init.lua",
        apps = "/rt/apps/?.lua", c = "/rt/?.so", default_c = "/usr/?.so" }

    it("come in their order", function()
        local lua, c = of_apps({ lua_path = "/a/?.lua;/b/?.lua", lua_cpath = "/a/?.so" }, templates)
        assert.equal("./?.lua;./?/init.lua;/a/?.lua;/b/?.lua;/rt/?.lua;/usr/?.lua;/usr/?/init.lua;"
            .. "/rt/apps/?.lua", lua)
        assert.equal("/a/?.so;./?.so;/rt/?.so;/usr/?.so", c)
    end)

    it("have no place for what is not set", function()
        local lua, c = of_apps({}, templates)
        assert.equal("./?.lua;./?/init.lua;/rt/?.lua;/usr/?.lua;/usr/?/init.lua;"
            .. "/rt/apps/?.lua", lua)
        assert.equal("./?.so;/rt/?.so;/usr/?.so", c)
    end)

    it("are searched once each, at the first place", function()
        local lua, c = of_apps({ lua_path = "/usr/?.lua;./?.lua;;/a/?.lua;/a/?.lua",
            lua_cpath = "./?.so;/usr/?.so" }, templates)
        assert.equal("./?.lua;./?/init.lua;/usr/?.lua;/a/?.lua;/rt/?.lua;/usr/?/init.lua;"
            .. "/rt/apps/?.lua", lua)
        assert.equal("./?.so;/usr/?.so;/rt/?.so", c)
    end)
end)
