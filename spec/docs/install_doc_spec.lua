-- docs/install.md: its packages are those of the Makefile, its commands are there.
local document = require "support.document"
local tempdir = require "support.tempdir"

local TEXT = document.text "docs/install.md"

describe("docs/install.md", function()
    it("lists every package that the Makefile installs", function()
        local told, wanted = {}, {}
        for _, row in ipairs(document.rows(document.section(TEXT, "## Packages"))) do
            for package in row[1]:gmatch "`(.-)`" do
                told[package] = true
            end
        end
        local makefile = document.makefile()
        for packages in makefile:gmatch "\nDEPS_[A-Z_]+ *= *([^\n]+)" do
            for package in packages:gmatch "[^%s/]+" do
                wanted[package] = true
            end
        end
        assert.same(wanted, told)
    end)

    it("has commands that there are", function()
        local count = 0
        for _, command in ipairs(document.commands(TEXT)) do
            local name, first = command.line:match "^(%S+) (%S+)"
            if name == "make" then
                local target = "\n" .. first .. ":"
                assert.truthy(document.makefile():find(target, 1, true), command.line)
            else
                -- spec/package/rocks_spec.lua makes the rock
                local rockspec = command.line:match("^luarocks %-%-lua%-version=5%.1 make "
                    .. "%-%-deps%-mode=none (%S+)$")
                assert.truthy(rockspec and tempdir.read(rockspec), command.line)
            end
            count = count + 1
        end
        assert.is_true(count >= 4)
    end)
end)
