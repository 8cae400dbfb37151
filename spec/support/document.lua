--- What documents say, for the specs that hold it against the system: their sections, tables,
-- commands, links.
-- @module support.document

local tempdir = require "support.tempdir"

local _M = {}

--- The text of a document.
function _M.text(path)
    return assert(tempdir.read(path), path)
end

--- The text of the Makefile and of its parts, each continued line as one.
function _M.makefile()
    local parts = { _M.text "Makefile" }
    local names = parts[1]:match "\nPARTS = %$%(patsubst %%,build%-aux/%%%.mk,([^)]+)%)"
    for name in names:gmatch "%S+" do
        parts[#parts + 1] = _M.text("build-aux/" .. name .. ".mk")
    end
    return (table.concat(parts):gsub("\\\n", " "))
end

--- The text below a heading, up to the next one of its level or above.
-- @tparam string text
-- @tparam string heading with its marks: "## Errors"
function _M.section(text, heading)
    local from, to = ("\n" .. text):find("\n" .. heading .. "\n", 1, true)
    assert(from, "no heading " .. heading)
    local marks = #heading:match "^#+"
    local rest, at = text:sub(to), 1
    while true do
        local stop, _, found = rest:find("\n(#+) ", at)
        if not stop or #found <= marks then
            return rest:sub(1, (stop or 0) - 1)
        end
        at = stop + 1
    end
end

--- The rows of all tables of a text, without their heads: each the list of its cells.
-- @treturn {{string,...},...}
function _M.rows(text)
    local rows = {}
    for block in ("\n" .. text .. "\n\n"):gmatch "\n(|.-)\n\n" do
        local number = 0
        for line in block:gmatch "[^\n]+" do
            number = number + 1
            local row = {}
            for cell in line:gmatch "|%s*([^|]-)%s*%f[|]" do
                row[#row + 1] = cell
            end
            rows[#rows + 1] = number > 2 and row or nil
        end
    end
    return rows
end

--- The words between backquotes, which may be doubled.
-- @tparam string text
-- @treturn {string,...}
function _M.quoted(text)
    local all = {}
    for _, words in text:gmatch "(`+)(.-)%1" do
        all[#all + 1] = words
    end
    return all
end

--- The commands of the shell blocks of a text.
-- @treturn {{line=,comment=},...}
function _M.commands(text)
    local commands = {}
    for block in ("\n" .. text):gmatch "\n```sh\n(.-)\n```" do
        for line in block:gmatch "[^\n]+" do
            local command, comment = line:match "^(.-)%s+# (.*)$"
            commands[#commands + 1] = { line = command or line, comment = comment or "" }
        end
    end
    return commands
end

--- The names that links to the headings of a text have.
-- @treturn table a set
function _M.anchors(text)
    local set, code = {}, false
    for line in text:gmatch "[^\n]+" do
        code = code ~= (line:match "^```" ~= nil)
        local heading = not code and line:match "^#+ (.*)$"
        if heading then
            local name = heading:lower():gsub("[^%w%s_-]", ""):gsub("%s", "-")
            set[name] = true
        end
    end
    return set
end

-- -- Specs that a document names -----------------------------------------------------------

--- Whether a source has a test of this name.
-- @tparam string|nil path of a spec, a C test or a list of checks
-- @tparam string name
function _M.has_test(path, name)
    local source = path and tempdir.read(path)
    if not source then
        return false
    elseif path:find("%.c$") then
        return source:find("\n%s+[%w_]+%(" .. name .. "[,)]") ~= nil
    end
    for _, before in ipairs { 'it("', 'it(("', 'check("' } do
        if source:find(before .. name .. '"', 1, true) then
            return true
        end
    end
    return false
end

--- Call `found(path, name)` for each test that a text names: `path`: `name`, `name`.
-- @treturn number how many
function _M.each_test(text, found)
    local path, count = nil, 0
    for word in text:gmatch("`([^`]+)`") do
        if word:find("^spec/") then
            path = word
        else
            found(path, word)
            count = count + 1
        end
    end
    return count
end

return _M
