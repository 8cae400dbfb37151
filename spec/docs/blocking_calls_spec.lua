-- docs/blocking-calls.md against the sources and the specs.
local document = require "support.document"
local process = require "support.process"
local tempdir = require "support.tempdir"

describe("docs/blocking-calls.md", function()
    local text = document.text "docs/blocking-calls.md"

    it("names an existing spec for each call that can be made to wait", function()
        local calls = 0
        for _, heading in ipairs { "## Supervisor", "## Subreaper", "## Arbiter" } do
            for _, row in ipairs(document.rows(document.section(text, heading))) do
                local count = document.each_test(row[4], function(path, name)
                    assert.is_true(document.has_test(path, name), ("%s: %s: %s"):format(row[1],
                        tostring(path), name))
                end)
                local reason = row[4]:match "^nothing to wait for" or row[4]:match "^can't be made"
                    or row[4]:match "^nobody is served"
                assert.truthy(count > 0 or reason, row[1])
                calls = calls + 1
            end
        end
        assert.is_true(calls > 30)
    end)

    -- Of what the three processes are made of, without comments.
    local function calls_of(path)
        local source, found = tempdir.read(path):gsub("/%*.-%*/", ""), {}
        for before, name in source:gmatch "([%w_.>]?)%f[%w_]([%a_][%w_]*)%(" do
            found[name] = before == "" or before:find "[%w_.>]" == nil or found[name]
        end
        return found
    end

    it("names all calls that may wait, with their files", function()
        local section = document.section(text, "## Where they are")
        local listed, waits = {}, {}
        for _, row in ipairs(document.rows(section)) do
            local calls = {}
            for _, name in ipairs(document.quoted(row[2])) do
                calls[name] = true
            end
            listed[row[1]:match "`(.*)`"] = calls
        end
        local looked_for = section:match "These names are looked for:(.-)\n\n"
        for _, name in ipairs(document.quoted(looked_for)) do
            waits[name] = true
        end
        local files = process.run { "find", "runtime/base", "runtime/supervisor",
            "runtime/arbiter", "runtime/cli", "runtime/worker/probe.c", "-name", "*.c" }.stdout
        for path in files:gmatch "%S+" do
            local calls = listed[path:match "^runtime/(.*)$"] or {}
            for name in pairs(calls_of(path)) do
                assert.is_true(not waits[name] or calls[name],
                    ("%s calls %s, which is not in docs/blocking-calls.md"):format(path, name))
            end
        end
        for file, names in pairs(listed) do
            local called = calls_of("runtime/" .. file)
            for name in pairs(names) do
                assert.is_true(called[name], file .. " has no call of " .. name)
            end
        end
    end)
end)
