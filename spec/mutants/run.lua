-- Breaks lines of the sources, one at a time, and runs the tests until one notices.
--
--     luajit spec/mutants/run.lua     (make mutants SEED=n COUNT=40)
--
-- SEED chooses COUNT lines of runtime/ and lua/ at random, and for each the smallest change that
-- makes it wrong: another comparison, a condition turned, a number one higher, a call left out.
-- Each change is built and tested in a copy of what git tracks; one that the compiler refuses is
-- replaced by the next. The RELATED (20) tests run that name most often what the changed file is
-- about, each a C program or a file of specs. A test notices when it fails twice with the change
-- and passes without it, as a failure may be a busy machine's. The last line is "N noticed, N
-- unnoticed". Environment: SEED, COUNT, RELATED; ONLY=FILE:LINE (that line alone, each change to
-- it); MUTANT_SECONDS, the limit of one test (300).
local seed = tonumber(os.getenv "SEED") or 1
local count = tonumber(os.getenv "COUNT") or 40
local only = os.getenv "ONLY"
only = only ~= "" and only or nil
local related = tonumber(os.getenv "RELATED") or 20
local limit_s = tonumber(os.getenv "MUTANT_SECONDS") or 300

local function lines_of(command)
    local pipe, list = assert(io.popen(command)), {}
    for line in pipe:lines() do
        list[#list + 1] = line
    end
    pipe:close()
    return list
end

local function trim(text)
    return (text:gsub("^%s+", ""))
end

-- The copy in which lines are changed: so the sources may be edited meanwhile.
local copy = lines_of("mktemp -d")[1]

local function read(path)
    local file = assert(io.open(copy .. "/" .. path, "rb"))
    local text = file:read "*a"
    file:close()
    return text
end

local function write(path, text)
    local file = assert(io.open(copy .. "/" .. path, "wb"))
    file:write(text)
    file:close()
end

-- -- changes to a line --------------------------------------------------------------------
-- Pattern, replacement; for C, Lua or both.
local CHANGES = {
    { "==", "!=", c = true }, { "!=", "==", c = true }, { "==", "~=", lua = true },
    { "~=", "==", lua = true }, { "<=", "<", c = true, lua = true },
    { ">=", ">", c = true, lua = true },
    { " < ", " <= ", c = true, lua = true }, { " > ", " >= ", c = true, lua = true },
    { "&&", "||", c = true }, { "||", "&&", c = true }, { " and ", " or ", lua = true },
    { " or ", " and ", lua = true }, { "%(!", "(", c = true }, { "not ", "", lua = true },
    { " %+ ", " - ", c = true, lua = true }, { " %- ", " + ", c = true, lua = true },
    { "true", "false", c = true, lua = true }, { "false", "true", c = true, lua = true },
    { "([^%w_.])(%d+)([^%w_.])", function(a, n, b) return a .. (n + 1) .. b end, c = true,
        lua = true },
    { "^(%s+)break;", "%1;", c = true }, { "^(%s+)[%w_>%.-]+%b();$", "%1;", c = true },
    { "^(%s+)[%w_.:]+%b()$", "%1do end", lua = true },
    { "^(%s+)[%w_>%.-]+ [|&+-]?= [^;]+;$", "%1;", c = true },
    { "^(%s+)if (%b())", "%1if (!%2)", c = true },
    { "if (.+) then", "if not (%1) then", lua = true },
}

-- All that can be made of a line, each another text.
local function changes_of(line, language)
    local list = {}
    if line:find "^%s*[/*#-]" or line:find "^[%w_]" or not line:find "%w" then
        return list -- comments, directives, declarations
    end
    -- Texts and comments are no code; what comes behind one stays as it is.
    local code = line:gsub("[\"'].*", ""):gsub("/%*.*", ""):gsub("%-%-.*", "")
    for _, change in ipairs(CHANGES) do
        if change[language] then
            local changed, n = code:gsub(change[1], change[2], 1)
            if n > 0 and changed ~= code then
                list[#list + 1] = changed .. line:sub(#code + 1)
            end
        end
    end
    return list
end

-- Every line that something can be made of.
local function candidates()
    local list = {}
    for _, path in ipairs(lines_of "git ls-files runtime lua | grep -E '[.](c|lua)$' | sort") do
        local number = 0
        for line in (read(path) .. "\n"):gmatch "(.-)\n" do
            number = number + 1
            local changes = changes_of(line, path:match "%.(%a+)$")
            if #changes > 0 then
                list[#list + 1] = { path = path, number = number, line = line, changes = changes }
            end
        end
    end
    return list
end

-- -- building and testing -------------------------------------------------------------------
local function sh(command)
    local status = os.execute(("cd %s && unset SEED COUNT ONLY && ( %s ) >log 2>&1"):format(copy,
        command))
    return status == 0
end

local function build()
    return sh "make -s -j2 all test-programs CFLAGS='-O1 -Werror'"
end

local TESTS = lines_of "git ls-files spec | grep -E 'c/test_.*[.]c$|_spec[.]lua$'"

-- Test programs and files of specs, those that name the file's words most often first.
local function tests_for(path)
    local stem, list = path:match "([%w_]+)%.%a+$", {}
    for _, file in ipairs(TESTS) do
        local text = read(file)
        local named = select(2, text:gsub(stem, ""))
        local binary = file:match "c/(test_[%w_]+)%.c$"
        local resty = path:find("resty", 1, true) ~= nil
        local near = (file:find("openresty", 1, true) ~= nil) == resty
        if near and not (binary and path:find "^lua/") then
            local bonus = file:find(stem, 1, true) and 1000 or 0
            list[#list + 1] = { binary = binary, file = file,
                score = bonus + named * 1000 / #text - #text / 1e6 }
        end
    end
    table.sort(list, function(a, b) return a.score > b.score end)
    return list
end

local function fails(test)
    return not sh(("TEST_SECONDS=%d SPEC_SECONDS=%d spec/run.sh %s"):format(limit_s, limit_s,
        test.binary and "c build/spec/" .. test.binary or "lua " .. test.file))
end

-- Build with this text in the file. False: the compiler refuses it.
local function build_with(path, text)
    write(path, text)
    return build()
end

-- The outcome of one change: a test's name, "unnoticed", or nil where it can't be built.
local function try(place, changed)
    local original, number, outcome = read(place.path), 0, "unnoticed"
    local text = (original .. "\n"):gsub("(.-)\n", function(line)
        number = number + 1
        return (number == place.number and changed or line) .. "\n"
    end):sub(1, -2)
    if not build_with(place.path, text) then
        write(place.path, original)
        return nil
    end
    for i, test in ipairs(tests_for(place.path)) do
        if i > related then
            break
        end
        if fails(test) and fails(test) then
            build_with(place.path, original)
            if not fails(test) then
                outcome = test.binary or test.file
                break
            end
            build_with(place.path, text)
        end
    end
    write(place.path, original)
    return outcome
end

assert(os.execute(("git ls-files -z | xargs -0 cp --parents -t %s"):format(copy)) == 0)
assert(build(), "the sources as they are can't be built: see " .. copy .. "/log")
local places, totals = candidates(), { noticed = 0, unnoticed = 0 }
io.stdout:setvbuf "line"
print(("mutants: SEED=%d, %d of %d lines"):format(seed, count, #places))

local function show(place, changed, outcome)
    local kind = outcome == "unnoticed" and outcome or "noticed"
    totals[kind] = totals[kind] + 1
    print(("%s:%d: %s\n  - %s\n  + %s"):format(place.path, place.number, outcome == kind and outcome
        or "noticed by " .. outcome, trim(place.line), trim(changed)))
end

math.randomseed(seed)
while only == nil and totals.noticed + totals.unnoticed < count do
    local place = table.remove(places, math.random(#places))
    local changed = place.changes[math.random(#place.changes)]
    local outcome = try(place, changed)
    if outcome then
        show(place, changed, outcome)
    end
end
for _, place in ipairs(only and places or {}) do
    for _, changed in ipairs(only == place.path .. ":" .. place.number and place.changes or {}) do
        local outcome = try(place, changed)
        if outcome then
            show(place, changed, outcome)
        end
    end
end
os.execute("rm -rf " .. copy)
print(("%d noticed, %d unnoticed"):format(totals.noticed, totals.unnoticed))
