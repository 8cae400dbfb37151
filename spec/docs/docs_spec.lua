-- All documents: what they link to is there.
local document = require "support.document"
local process = require "support.process"
local tempdir = require "support.tempdir"

describe("the documents", function()
    local paths = { "README.md", "CHANGELOG.md" }
    local found = process.run { "find", "docs", "spec", "examples", "-name", "*.md" }
    for path in found.stdout:gmatch "%S+" do
        paths[#paths + 1] = path
    end

    local function without_code(text)
        return (("\n" .. text):gsub("\n```.-\n```", ""))
    end

    it("link to files and headings that are there", function()
        local links = 0
        for _, path in ipairs(paths) do
            for target in without_code(document.text(path)):gmatch "%]%(([^)%s]+)%)" do
                local file, anchor = target:match "^([^#]*)#?(.*)$"
                if not target:find "^https?:" then
                    local name = file == "" and path or (path:match "^(.*/)" or "") .. file
                    local text = tempdir.read(name)
                    assert.truthy(text or process.run({ "test", "-d", name }).exit == 0,
                        path .. " links to " .. target)
                    assert.truthy(anchor == "" or document.anchors(text)[anchor],
                        path .. " links to " .. target)
                    links = links + 1
                end
            end
        end
        assert.is_true(links > 50)
    end)

    it("are all in the index, with one line each, and say first for whom they are", function()
        local index, pages = document.text "docs/README.md", 0
        for _, path in ipairs(paths) do
            local name = path:match "^docs/(.*)$"
            if name and name ~= "README.md" then
                local line = ("\n- [%s](%s): "):format(name, name)
                local _, count = index:gsub(line:gsub("%p", "%%%0"), "")
                assert.equal(1, count, path .. " in docs/README.md")
                assert.matches("^#[^\n]+\n\n%*%*For:%*%* ", document.text(path))
                pages = pages + 1
            end
        end
        assert.is_true(pages > 10)
    end)
end)
