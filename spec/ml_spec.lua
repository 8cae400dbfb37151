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
        assert.truthy(err:find(dir .. "/iris.model is no model of libsvm", 1, true), err)
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
        assert.truthy(err:find("name is made of", 1, true), err)
        _, err = client:execute("ml", "train", "x", rows, { "one" })
        assert.truthy(err:find("as many labels", 1, true), err)
        _, err = client:execute("ml", "train", "x", { { 1 }, { "two" } }, { "a", "b" })
        assert.truthy(err:find("not a number", 1, true), err)
        _, err = client:execute("ml", "train", "x", { { 1 }, { 2 } }, { "a", "b" }, { C = -1 })
        assert.truthy(err:find("libsvm: C <= 0", 1, true), err)
    end)
end)
