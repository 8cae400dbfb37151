-- All documents: what they link to is there.
local document = require "support.document"
local process = require "support.process"
local tempdir = require "support.tempdir"

describe("the documents", function()
    local paths = { "README.md", "CHANGELOG.md" }
    for path in process.run({ "find", "docs", "spec", "-name", "*.md" }).stdout:gmatch "%S+" do
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
end)
