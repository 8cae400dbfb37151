-- docs/tutorial.md: followed step by step in an empty directory. Its files are saved, its commands
-- run, and what it says that they print is compared, but for ids, times and paths.
local document = require "support.document"
local process = require "support.process"
local tempdir = require "support.tempdir"
local unistd = require "posix.unistd"
local wait = require "support.wait"

local TEXT = document.text "docs/tutorial.md"

describe("docs/tutorial.md", function()
    local home, env, directory, server, exports

    before_each(function()
        home = tempdir.new()
        exports, directory = {}, unistd.getcwd()
        env = { HOME = home, DIRTY_SOCKET = home .. "/dirty.sock", LUA_PATH = false,
            LUA_CPATH = false }
    end)

    after_each(function()
        if server then
            server:close()
            server = nil
        end
        tempdir.remove(home)
    end)

    -- The text, with the server's directory in the home, and the outputs of this build.
    local function here(text)
        return (text:gsub("/srv/greet", home .. "/srv")
            :gsub("%$PWD/build:", (process.dirty():gsub("/dirty$", ":"):gsub("%%", "%%%%")))
            :gsub("luajit ", process.LUAJIT .. " "))
    end

    -- What remains of an output without its numbers, sockets and lengths of blanks.
    local function plain(text)
        return (text:gsub("/[%w./_-]+%.sock", "SOCKET"):gsub("%d+%.?%d*", "N"):gsub("[ \t]+", " "))
    end

    local function shell(command)
        return { "sh", "-c", table.concat(exports, "\n") .. "\n" .. command }
    end

    local function serve(command)
        server = process.start(shell("exec " .. command), { env = env, cwd = directory })
        wait.until_true(function()
            return server:ended()
                or process.run(shell "dirty status --ready", { env = env }).exit == 0
        end, 20, function() return command .. " is ready\n" .. server:stderr() end)
        return server:stderr()
    end

    -- Run one command of the reader's; all that it prints.
    local function run(command, exit)
        if command:find "^export " then
            exports[#exports + 1] = command:gsub("%$PWD", unistd.getcwd())
            return ""
        elseif command:find "^cd " then
            directory = home .. assert(command:match "^cd ~(/%w+)$")
            return ""
        elseif command:find "^dirty serve" then
            return serve(command)
        end
        local r = process.run(shell(command .. " 2>&1"), { env = env, cwd = directory,
            seconds = 60 * wait.SLOW })
        assert.equal(exit, r.exit, command .. "\n" .. r.stdout)
        return r.stdout
    end

    it("can be followed from its first step to its last", function()
        local files, commands, outputs = 0, 0, 0
        local printed = ""
        for language, block in TEXT:gmatch "\n```(%l+)\n(.-)\n```" do
            block = here(block)
            if language == "lua" then
                local name = assert(block:match "^%-%- (%S+%.lua)\n", block)
                tempdir.write(name:find "^/" and name or directory .. "/" .. name, block .. "\n")
                files = files + 1
            elseif language == "sh" then
                printed = ""
                for line in block:gmatch "[^\n]+" do
                    local command, comment = line:match "^(.-)%s+# (.*)$"
                    command = command or line
                    if command ~= "make demo" then -- spec/package/demo_spec.lua runs it
                        local out = run(command, tonumber((comment or ""):match "exits (%d)") or 0)
                        printed = printed .. (out:find "[^\n]$" and out .. "\n" or out)
                    end
                    commands = commands + 1
                end
            else
                assert.equal("text", language)
                for line in block:gmatch "[^\n]+" do
                    assert.truthy(plain(printed):find(plain(line), 1, true),
                        line .. " is not in\n" .. printed)
                end
                outputs = outputs + 1
            end
        end
        assert.is_true(files >= 5 and commands >= 25 and outputs >= 12)
        assert.same({ exit = 0 }, server:wait(20))
    end)
end)
