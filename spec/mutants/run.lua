-- Breaks lines of the sources, one at a time, and runs the tests until one notices.
--
--     luajit spec/mutants/run.lua     (make mutants SEED=n COUNT=40)
--
-- SEED chooses COUNT lines of runtime/ and lua/ at random, and for each the smallest change that
-- makes it wrong: another comparison, a condition turned, a number one higher, a call left out.
-- Each change is built and tested in a copy of what git tracks; one that the compiler refuses is
-- replaced by the next. The RELATED (20) tests run that name most often what the changed file is
-- about, each a C program or a file of specs: JOBS (twice the CPUs) at a time, quick and near ones
-- first, each file of specs up to its first failure. A failure may be a busy machine's. So a test
-- notices when it fails twice more, alone, and passes alone in a second copy, where nothing is
-- changed. Then the others are ended, with all that they started. The last line is "N noticed, N
-- unnoticed". Environment: SEED, COUNT, RELATED, JOBS; ONLY=FILE:LINE (that line alone, each
-- change to it); MUTANT_SECONDS, the limit of one test (120).
local seed = tonumber(os.getenv "SEED") or 1
local count = tonumber(os.getenv "COUNT") or 40
local only = os.getenv "ONLY"
only = only ~= "" and only or nil
local related = tonumber(os.getenv "RELATED") or 20
local limit_s = tonumber(os.getenv "MUTANT_SECONDS") or 120

local lines_of = dofile("spec/mutants/copy.lua").lines_of

local function trim(text)
    return (text:gsub("^%s+", ""))
end

local jobs = tonumber(os.getenv "JOBS") or 2 * tonumber(lines_of("nproc")[1])

-- The copies, one in which lines are changed and a sound one: so the sources may be edited
-- meanwhile. Tests may run as other users, and have little room for the paths of their sockets.
local place_of_all = lines_of("mktemp -d /tmp/mXXXXXX")[1]
local copy, sound = place_of_all .. "/copy", place_of_all .. "/sound"
local temporary = place_of_all .. "/t"
assert(os.execute(("chmod 755 %s && mkdir %s"):format(place_of_all, copy)) == 0)

local read, write = dofile("spec/mutants/copy.lua").files(copy)

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
local TESTS = lines_of "git ls-files spec | grep -E 'c/test_.*[.]c$|_spec[.]lua$'"

-- What a test took when it passed, by its words for spec/run.sh. Until then: C programs are quick.
local seconds = {}

-- The words for spec/run.sh of the tests that name the file's words most often. First comes what
-- is to notice soonest: what takes little time, and names them more often than others do.
local function tests_for(path)
    local part, stem = path:match "([%w_]+)/([%w_]+)%.%a+$"
    local list, tests, cost = {}, {}, {}
    for _, file in ipairs(TESTS) do
        local text = read(file)
        local named = select(2, text:gsub(stem, "")) + 0.1 * select(2, text:gsub(part, ""))
        local binary = file:match "c/(test_[%w_]+)%.c$"
        local resty = path:find("resty", 1, true) ~= nil
        local near = (file:find("openresty", 1, true) ~= nil) == resty
        if near and not (binary and path:find "^lua/") then
            local bonus = (file:find(stem, 1, true) and 1000 or 0) + (file:find(part, 1, true) and
                100 or 0) - (file:find "spec/package" and 100 or 0) -- those build, and take long
            local words = binary and "c build/spec/" .. binary or "lua --no-keep-going " .. file
            seconds[words] = seconds[words] or (binary and 1 or 10) + #text / 1e4
            list[#list + 1] = { words = words,
                score = bonus + named * 1000 / #text - #text / 1e6 }
        end
    end
    table.sort(list, function(a, b) return a.score > b.score end)
    for i = 1, math.min(related, #list) do
        tests[i] = list[i].words
        cost[tests[i]] = i * (seconds[tests[i]] + 1)
    end
    table.sort(tests, function(a, b) return cost[a] < cost[b] end)
    return tests
end

-- Build the product and what these tests run. False: the compiler refuses it.
local function build(tests)
    local programs = table.concat(tests, " "):gsub("lua %S+ %S+", ""):gsub("c (build)", "%1")
    return os.execute(("cd %s && make -s -j%d test-programs TESTS_C='%s' CFLAGS='-O1 -Werror' "
        .. ">log 2>&1"):format(copy, jobs, programs)) == 0
end

-- Kill what runs in a session of tests, and what left it but bears their mark.
local function end_session(session)
    local command = ("{ ps -o stat=,pid= -s %s | sed -n 's/^[^Z]* //p'; grep -lzsxF DIRTY_MUTANT=%s"
        .. " /proc/[0-9]*/environ | cut -d / -f 3; }"):format(session, place_of_all)
    local left = lines_of(command)
    while #left > 0 do
        os.execute("kill -KILL " .. table.concat(left, " ") .. " 2>/dev/null")
        left = lines_of(command)
    end
    os.execute(("rm -rf %s"):format(temporary))
end

local RUN = [[cd %s && mkdir -pm 1777 %s && exec setsid env -u SEED -u COUNT -u ONLY -u JOBS \
    DIRTY_MUTANT=%s TMPDIR=%s TEST_SECONDS=%d SPEC_SECONDS=%d \
    DIRTY_SPEC_SLOW=${DIRTY_SPEC_SLOW:-3} sh -c 'echo $$
    xargs -P %d -I{} sh -c "begun=\$(date +%%s); spec/run.sh {} >/dev/null 2>&1
        echo \$? \$((\$(date +%%s) - begun)) {}"' <<'END'
%s
END
]]

-- Run tests in a copy, so many at a time, up to the first that fails. Returns it, or nil, and
-- the set of those that have passed.
local function first_failure(dir, tests, at_a_time)
    local pipe = assert(io.popen(RUN:format(dir, temporary, place_of_all, temporary, limit_s,
        limit_s, at_a_time, table.concat(tests, "\n"))))
    local session, failed, passed = pipe:read "*l", nil, {}
    for line in pipe:lines() do
        local status, took, test = line:match "^(%d+) (%d+) (.+)$"
        if status ~= "0" then
            failed = test
            break
        end
        passed[test], seconds[test] = true, tonumber(took)
    end
    end_session(session)
    pipe:close()
    return failed, passed
end

-- Whether a test passes in the sound copy; asked once. One that does not is never believed again.
local passes_there = {}
local function is_sound(test)
    if passes_there[test] == nil then
        local program = test:match "^c (%S+)"
        assert(not program or os.execute(("make -s -C %s CFLAGS=-O1 %s"):format(sound,
            program)) == 0)
        passes_there[test] = not first_failure(sound, { test }, 1) or
            not first_failure(sound, { test }, 1)
    end
    return passes_there[test]
end

-- The test that notices, or nil.
local function notice(tests)
    local failed, passed = first_failure(copy, tests, jobs)
    if not failed then
        return nil
    elseif passes_there[failed] ~= false and first_failure(copy, { failed }, 1) and
        first_failure(copy, { failed }, 1) and is_sound(failed) then
        return failed
    end
    local rest = {}
    for _, test in ipairs(tests) do
        if not passed[test] and test ~= failed and passes_there[test] ~= false then
            rest[#rest + 1] = test
        end
    end
    return rest[1] and notice(rest)
end

-- The outcome of one change: a test's words, "unnoticed", or nil where it can't be built.
local function try(place, changed)
    local original, number = read(place.path), 0
    local text = (original .. "\n"):gsub("(.-)\n", function(line)
        number = number + 1
        return (number == place.number and changed or line) .. "\n"
    end):sub(1, -2)
    local tests = tests_for(place.path)
    write(place.path, text)
    local built = (place.path:find "%.c$" or loadstring(text)) and build(tests)
    local outcome = built and (notice(tests) or "unnoticed") or nil
    write(place.path, original)
    return outcome
end

assert(os.execute(("git ls-files -z | xargs -0 cp --parents -t %s"):format(copy)) == 0)
assert(build {}, "the sources as they are can't be built: see " .. copy .. "/log")
assert(os.execute(("cp -a %s %s"):format(copy, sound)) == 0)
local places, totals = candidates(), { noticed = 0, unnoticed = 0 }
io.stdout:setvbuf "line"
print(("mutants: SEED=%d, %d of %d lines"):format(seed, count, #places))

local begun = os.time()
local function show(place, changed, outcome)
    local kind = outcome == "unnoticed" and outcome or "noticed"
    totals[kind] = totals[kind] + 1
    print(("%s:%d: %s, %d s\n  - %s\n  + %s"):format(place.path, place.number,
        outcome == kind and outcome or "noticed by " .. outcome, os.time() - begun,
        trim(place.line), trim(changed)))
    begun = os.time()
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
os.execute("rm -rf " .. place_of_all)
print(("%d noticed, %d unnoticed"):format(totals.noticed, totals.unnoticed))
