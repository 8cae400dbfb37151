--- apps/ml.lua on the running system, with a model trained from Fisher's iris data.

local cjson = require "cjson"
local runtime = require "support.runtime"
local tempdir = require "support.tempdir"

-- Of the Debian package python3-vega-datasets: 150 flowers, measured.
local IRIS = "/usr/lib/python3/dist-packages/vega_datasets/_data/iris.json"

local function read_flowers()
    local file = assert(io.open(IRIS), "apt-get install python3-vega-datasets")
    local flowers = cjson.decode(file:read("*a"))
    file:close()
    local rows, labels = {}, {}
    for i, f in ipairs(flowers) do
        rows[i] = { f.sepalLength, f.sepalWidth, f.petalLength, f.petalWidth }
        labels[i] = f.species
    end
    return rows, labels
end

describe("apps.ml", function()
    local dir, rt, rows, labels

    before_each(function()
        dir = tempdir.new()
        rows, labels = read_flowers()
    end)
    after_each(function()
        if rt then rt:close() end
        rt = nil
        tempdir.remove(dir)
    end)

    -- Two workers, and two objects in each: "other" has nothing of "ml" but the directory.
    local function start(more)
        rt = runtime.start {
            config = ([[workers = 2
                local options = { models = %q %s }
                apps = { ml = { module = "apps.ml", options = options },
                    other = { module = "apps.ml", options = options } }]])
                :format(dir, more or ""),
        }
        return rt:client()
    end

    -- Every other flower, from `first` on.
    local function every_other(first)
        local some_rows, some_labels = {}, {}
        for i = first, #rows, 2 do
            some_rows[#some_rows + 1], some_labels[#some_labels + 1] = rows[i], labels[i]
        end
        return some_rows, some_labels
    end

    it("learns from one half of the flowers and knows the other", function()
        local client = start()
        local train_rows, train_labels = every_other(1)
        local model = assert(client:execute("ml", "train", "iris", train_rows, train_labels))
        assert.same({ loaded = true, name = "iris", classes = 3 }, model)
        local test_rows, test_labels = every_other(2)
        local right = 0
        for i, row in ipairs(test_rows) do
            local label, probabilities = client:execute("ml", "inference", "iris", row)
            assert.is_true(probabilities[label] > 0 and probabilities[label] <= 1)
            right = right + (label == test_labels[i] and 1 or 0)
        end
        assert.is_true(right >= 0.9 * #test_rows, right .. " of " .. #test_rows)
    end)

    it("keeps models in memory, and loads them at start where it is told to", function()
        local client = start()
        assert(client:execute("ml", "train", "iris", rows, labels))
        rt:close()
        client = start(', preload = { "iris" }')
        assert(os.remove(dir .. "/iris.model"))
        assert.equal("setosa", (client:execute("ml", "inference", "iris", rows[1])))
        assert.same({ loaded = true, name = "iris", classes = 3 },
            client:execute("ml", "load_model", "iris"))
    end)

    it("answers by what was trained last, whoever trained it", function()
        local client = start()
        local loud = {}
        for i, label in ipairs(labels) do
            loud[i] = label:upper()
        end
        for _, all in ipairs { labels, loud } do
            assert(client:execute("ml", "train", "iris", rows, all))
            for _ = 1, 4 do -- wherever these run
                for _, app in ipairs { "other", "ml" } do
                    local label = assert(client:execute(app, "inference", "iris", rows[1]))
                    assert.equal(all[1], label)
                end
            end
        end
    end)

    it("says so when a model can't be read, and goes on with the next that can", function()
        local client = start()
        assert(client:execute("ml", "train", "iris", rows, labels))
        tempdir.write(dir .. "/iris.model", "svm_type nonsense\n")
        local _, err = client:execute("ml", "inference", "iris", rows[1])
        assert.truthy(err:find(dir .. "/iris.model is not a libsvm model", 1, true), err)
        assert(client:execute("other", "train", "iris", rows, labels))
        assert.equal("setosa", (client:execute("ml", "inference", "iris", rows[1])))
    end)

    it("streams label by label", function()
        local client = start()
        assert(client:execute("ml", "train", "iris", rows, labels))
        local seen = {}
        local stream = assert(client:stream("ml", "classify", "iris",
            { rows[1], rows[75], rows[150] }))
        for label in stream do
            seen[#seen + 1] = label
        end
        assert.is_nil(stream.err)
        assert.same({ "setosa", "versicolor", "virginica" }, seen)
    end)

    it("says what is wrong", function()
        local client = start()
        local _, err = client:execute("ml", "inference", "iris", rows[1])
        assert.truthy(err:find("there is no model " .. dir .. "/iris.model", 1, true), err)
        _, err = client:execute("ml", "load_model", "iris")
        assert.truthy(err:find("there is no model", 1, true), err)
        _, err = client:execute("ml", "load_model", "../etc/passwd")
        assert.truthy(err:find("name must consist of", 1, true), err)
        _, err = client:execute("ml", "train", "x", rows, { "one" })
        assert.truthy(err:find("as many labels", 1, true), err)
        _, err = client:execute("ml", "train", "x", { { 1 }, { "two" } }, { "a", "b" })
        assert.truthy(err:find("not a number", 1, true), err)
    end)

    -- Two classes, well apart, in rows of `width` values.
    local function two(a, b, width)
        local some_rows, some_labels = {}, {}
        for i = 1, 12 do
            some_rows[i], some_labels[i] = {}, i % 2 == 0 and a or b
            for k = 1, width or 1 do
                some_rows[i][k] = (i % 2 == 0 and 1 or 9) + i / 10
            end
        end
        return some_rows, some_labels
    end

    it("gives back the labels that it was given, whatever is in them", function()
        local client = start()
        local function text(label)
            return type(label) == "number" and ("%.0f"):format(label) or tostring(label)
        end
        for _, pair in ipairs { { "Paris\nNord", "Lyon" }, { "a\\nb", "a\nb" }, { "\r", "\\" },
            { "", " " }, { "\0\255", "\195\164" }, { 1, 2 }, { -5, 123456789012345 },
            { true, false } } do
            local some_rows, some_labels = two(pair[1], pair[2])
            local model = assert(client:execute("ml", "train", "x", some_rows, some_labels))
            assert.equal(2, model.classes)
            for _ = 1, 2 do -- by the lane that has trained, and by one that reads it
                for _, app in ipairs { "ml", "other" } do
                    local label, odds = client:execute(app, "inference", "x", { 1.2 })
                    assert.equal(text(pair[1]), label)
                    assert.is_true(odds[label] > 0.5)
                    assert.equal(text(pair[2]), (client:execute(app, "inference", "x", { 9 })))
                end
            end
        end
    end)

    it("takes rows of one width alone, to train and to classify", function()
        local client = start()
        local some_rows, some_labels = two("a", "b", 3)
        some_rows[7] = { 1, 2 }
        local _, err = client:execute("ml", "train", "x", some_rows, some_labels)
        assert.truthy(err:find("row 7 has 2 values, the others have 3", 1, true), err)
        some_rows[7] = { 9, 9, 9 }
        assert(client:execute("ml", "train", "x", some_rows, some_labels))
        for _, app in ipairs { "ml", "other" } do
            for _, row in ipairs { { 1 }, { 1, 2, 3, 4 } } do
                _, err = client:execute(app, "inference", "x", row)
                assert.truthy(err:find(("the row has %d values, the model was trained with 3")
                    :format(#row), 1, true), err)
            end
        end
        local stream = assert(client:stream("ml", "classify", "x", { { 1, 1, 1 }, { 1, 1 } }))
        assert.equal("a", (stream()))
        assert.is_nil(stream())
        assert.truthy(stream.err:find("row 2 has 2 values, the model was trained with 3", 1, true))
    end)

    it("takes rows of any width for a model that leaves out zeros", function()
        local client = start()
        assert(client:execute("ml", "train", "x", two("a", "b", 3)))
        local path = dir .. "/x.model"
        tempdir.write(path, (tempdir.read(path):gsub(" 2:[^ ]+", "", 1)))
        assert.equal("a", (client:execute("ml", "inference", "x", { 1, 1 })))
        assert.equal("a", (client:execute("ml", "inference", "x", { 1, 1, 1, 1 })))
    end)

    it("says which argument is wrong", function()
        local client = start()
        local some_rows, some_labels = two("a", "b")
        assert(client:execute("ml", "train", "x", some_rows, some_labels))
        local name = "a model's name must consist of letters, digits, _ and -, not "
        local list = " must be a list of 1 to "
        for _, case in ipairs {
            { name .. "5", "load_model", 5 }, { name .. "a nil", "inference" },
            { name .. "'a/b'", "train", "a/b", some_rows, some_labels },
            { "the row" .. list .. "10000 numbers, not 'x'", "inference", "x", "x" },
            { "the row" .. list .. "10000 numbers, not a nil", "inference", "x" },
            { "the row" .. list .. "10000 numbers, not a table of 0", "inference", "x", {} },
            { "the row" .. list .. "10000 numbers, not a table of 1", "inference", "x", { a = 1 } },
            { "value 1 of the row is 'x', not a number", "inference", "x", { "x" } },
            { "classify: the rows" .. list .. "100000 rows, not 5", "classify", "x", 5 },
            { "row 1" .. list .. "10000 numbers, not 5", "classify", "x", { 5 } },
            { "train: the rows" .. list .. "100000 rows, not a nil", "train", "x" },
            { "train: the labels" .. list .. "100000 labels, not 'a'", "train", "x", some_rows,
                "a" },
            { "row 2" .. list .. "10000 numbers, not 'b'", "train", "x", { { 1 }, "b" }, { 1, 2 } },
            { "label 2 is a table, not a string, a whole number or a boolean", "train", "x",
                { { 1 }, { 2 } }, { "a", {} } },
            { "label 1 is 1.5, not a string, a whole number or a boolean", "train", "x",
                { { 1 }, { 2 } }, { 1.5, "b" } },
            { "train: unknown option 'c' (did you mean 'C'?)", "train", "x", some_rows, some_labels,
                { c = 1 } },
            { "train: unknown option 'kernel'", "train", "x", some_rows, some_labels,
                { kernel = "rbf" } },
            { "train: option C must be a number above 0, not -1", "train", "x", some_rows,
                some_labels, { C = -1 } },
            { "train: option gamma must be a number above 0, not '1'", "train", "x", some_rows,
                some_labels, { gamma = "1" } },
            { "train: options must be a table, not 5", "train", "x", some_rows, some_labels, 5 },
        } do
            local _, err, info = client:execute("ml", unpack(case, 2, 6))
            assert.equal("APP", info and info.code, case[1])
            assert.equal(case[1], info.message)
            assert.is_string(err)
        end
    end)

    it("says at boot what is wrong with its options", function()
        for options, words in pairs { [", model = 1"] = "init: unknown option 'model'",
            [', preload = "iris"'] = "init: option preload must be a list of names, not 'iris'",
            [', preload = { "iris" }'] = "there is no model" } do
            local ok, err = pcall(start, options)
            assert.is_false(ok)
            assert.truthy(tostring(err):find(words, 1, true), tostring(err))
        end
    end)
end)
