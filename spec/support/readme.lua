--- Snippets and tables of the README, or of another document, for the specs that run them.
-- @module support.readme

local tempdir = require "support.tempdir"

local _M = {}

--- The text of README.md.
-- @tparam[opt] string path of another document
function _M.text(path)
    return assert(tempdir.read(path or "README.md"))
end

--- All fenced blocks of a language, in their order.
-- @tparam string language "sh", "lua", "c"
-- @tparam[opt] string path of another document
-- @treturn {string,...}
function _M.blocks(language, path)
    local blocks = {}
    for block in _M.text(path):gmatch("\n```" .. language .. "\n(.-)\n```\n") do
        blocks[#blocks + 1] = block .. "\n"
    end
    return blocks
end

--- The block whose first line names a file: `-- words.lua`, `/* call.c: … */`.
-- @treturn string
function _M.file(language, name)
    for _, block in ipairs(_M.blocks(language)) do
        if block:match("^[^\n]*"):find(name, 1, true) then
            return block
        end
    end
    error("README.md has no " .. language .. " block named " .. name)
end

--- The commands of all shell blocks, without their comments.
-- @treturn {string,...}
function _M.commands()
    local commands = {}
    for _, block in ipairs(_M.blocks "sh") do
        for line in block:gmatch "[^\n]+" do
            commands[#commands + 1] = (line:gsub("%s+#.*$", ""))
        end
    end
    return commands
end

--- The rows of the table below a heading, each the list of its cells.
-- @tparam string heading
-- @tparam[opt] string path of another document
-- @treturn {{string,...},...}
function _M.table_rows(heading, path)
    local text = _M.text(path)
    local section = text:match("\n## " .. heading .. "\n(.-)\n## ")
        or text:match("\n## " .. heading .. "\n(.*)$")
    local rows = {}
    for line in assert(section, heading):gmatch "\n(|[^\n]+)" do
        local row = {}
        for cell in line:gmatch "|%s*([^|]-)%s*%f[|]" do
            row[#row + 1] = cell
        end
        rows[#rows + 1] = row
    end
    table.remove(rows, 1) -- the head
    table.remove(rows, 1) -- the line below it
    return rows
end

return _M
