--- Machine learning: support vector machines by libsvm, models kept in memory.
--
--     client:execute("apps.ml", "load_model", "iris")          -> { loaded = true, name = … }
--     client:execute("apps.ml", "inference", "iris", {5.1, 3.5, 1.4, 0.2})
--                                                              -> label, { label = probability, … }
--     client:stream("apps.ml", "classify", "iris", rows)       -> label by label
--     client:execute("apps.ml", "train", "iris", rows, labels, { C = 10 })
--
-- Options of init: `models`, the directory where models lie (NAME.model, libsvm's own
-- format) and `preload`, a list of names that are loaded before the first call comes.
-- Labels are strings, whole numbers or booleans, and come back as strings; they are kept beside
-- the model, in NAME.labels, a line each, with \n, \r, \0 and \\ for what a line can't have. All
-- rows of a model have as many values; those of a model from elsewhere that leaves out zeros may
-- have any number.
--
-- Every lane has models of its own, and the directory is what lanes share: a call whose model
-- its lane has not, or has from a file that is another one by now, loads it first. So it does
-- not matter which worker trains and which one answers. `load_model` and `preload` only spare
-- the first call that time. A model whose file is gone stays in the lanes that have it.
--
-- Training replaces both files under a lock (flock) of the directory, and loading holds it
-- too. Who brings models from elsewhere moves them in (mv), whole.
--
-- A wrong argument raises; a model that can't be had or trained gives nil, err.
--
-- It needs libsvm.so.3 (Debian: libsvm3).

local dirty = require "dirty"
local ffi = require "ffi"
local hint = require("dirty.suggest").hint

local ML = dirty.app { timeout = 60 }

ffi.cdef [[
struct svm_node { int index; double value; };
struct svm_problem { int l; double *y; struct svm_node **x; };
struct svm_parameter {
    int svm_type, kernel_type, degree;
    double gamma, coef0, cache_size, eps, C;
    int nr_weight, *weight_label;
    double *weight, nu, p;
    int shrinking, probability;
};
struct svm_model { /* as svm.h has it, as far as it is read here */
    struct svm_parameter param;
    int nr_class, l;
    struct svm_node **SV;
};
struct svm_model *svm_train(const struct svm_problem *, const struct svm_parameter *);
const char *svm_check_parameter(const struct svm_problem *, const struct svm_parameter *);
int svm_save_model(const char *, const struct svm_model *);
struct svm_model *svm_load_model(const char *);
int svm_get_nr_class(const struct svm_model *);
void svm_get_labels(const struct svm_model *, int *);
double svm_predict_probability(const struct svm_model *, const struct svm_node *, double *);
void svm_free_and_destroy_model(struct svm_model **);
void svm_set_print_string_function(void (*)(const char *));
size_t strlen(const char *);

struct ml_time { int64_t seconds; uint32_t nanoseconds; int32_t unused; };
struct ml_statx { /* struct statx, alike on every machine; what is not read is `unused` */
    uint32_t unused1[8];
    uint64_t inode, size, unused2[2];
    struct ml_time unused3[3], modified;
    uint64_t unused4[16];
};
int ml_statx(int, const char *, int, unsigned, struct ml_statx *) __asm__("statx");
int ml_fileno(void *) __asm__("fileno");
int ml_flock(int, int) __asm__("flock");
char *ml_realpath(const char *, char *) __asm__("realpath");
]]

local C_SVC, RBF = 0, 2
local FEATURES_MAX, ROWS_MAX = 10000, 100000
local AT_FDCWD, STATX_BASIC_STATS = -100, 0x7ff
local LOCK_SH, LOCK_EX = 1, 2
local PATH_MAX = 4096

-- -- Arguments --------------------------------------------------------------------------------

local function fail(text, ...)
    error(text:format(...), 0)
end

local function a_kind(value)
    return type(value) == "string" and ("'%s'"):format(value)
        or type(value) == "number" and tostring(value) or "a " .. type(value)
end

-- Check a table of options: `known` has a check for each, (value) -> ok, what it must be.
local function check_options(where, options, known)
    if options == nil then
        return {}
    elseif type(options) ~= "table" then
        fail("%s: options must be a table, not %s", where, a_kind(options))
    end
    local names = {}
    for name in pairs(known) do
        names[#names + 1] = name
    end
    table.sort(names)
    for name, value in pairs(options) do
        if not known[name] then
            fail("%s: unknown option '%s'%s", where, tostring(name), hint(tostring(name), names))
        end
        local ok, wanted = known[name](value)
        if not ok then
            fail("%s: option %s must be %s, not %s", where, name, wanted, a_kind(value))
        end
    end
    return options
end

local function positive(value)
    return type(value) == "number" and value > 0 and value < math.huge, "a number above 0"
end

local TRAIN_OPTIONS = { C = positive, gamma = positive }

local INIT_OPTIONS = {
    models = function(value)
        return type(value) == "string" and value ~= "", "the path of a directory"
    end,
    preload = function(value)
        return type(value) == "table", "a list of names"
    end,
}

-- Names are parts of paths: nothing but word characters.
local function check_name(name)
    if type(name) ~= "string" or not name:find("^[%w_-]+$") then
        fail("a model's name must consist of letters, digits, _ and -, not %s", a_kind(name))
    end
    return name
end

-- The number of values of a list. A table with holes, or with other keys, is none.
local function length_of(where, list, what, max)
    local count = 0
    for _ in pairs(type(list) == "table" and list or {}) do
        count = count + 1
    end
    if count == 0 or count > max or count ~= #list then
        fail("%s must be a list of 1 to %d %s, not %s", where, max, what,
            type(list) == "table" and ("a table of %d"):format(count) or a_kind(list))
    end
    return count
end

local function label_of(value, i)
    local kind = type(value)
    if kind == "string" or kind == "boolean"
        or kind == "number" and value % 1 == 0 and math.abs(value) < 2 ^ 53 then
        return kind == "number" and ("%.0f"):format(value) or tostring(value)
    end
    fail("label %d is %s, not a string, a whole number or a boolean", i, a_kind(value))
end

-- Where a directory is, should another app of the worker change the working directory.
local function absolute(path)
    local room = ffi.new("char[?]", PATH_MAX)
    if ffi.C.ml_realpath(path, room) == nil then
        fail("init: models: there is no directory %s", path)
    end
    return ffi.string(room)
end

-- -- Models -----------------------------------------------------------------------------------

function ML:init(options)
    options = check_options("init", options, INIT_OPTIONS)
    local ok, svm = pcall(ffi.load, "libsvm.so.3")
    if not ok then
        fail("libsvm.so.3 can't be loaded (Debian: apt-get install libsvm3): %s", svm)
    end
    -- Training talks on stdout; a function that does nothing with the text keeps it quiet.
    svm.svm_set_print_string_function(ffi.cast("void (*)(const char *)", ffi.C.strlen))
    self.svm = svm
    self.directory = absolute(options.models or ".")
    self.models = {}
    for _, name in ipairs(options.preload or {}) do
        local loaded, err = self:load_model(name)
        if not loaded then
            error(err, 0)
        end
    end
end

function ML:_path(name, suffix)
    return ("%s/%s.%s"):format(self.directory, name, suffix)
end

-- What tells one file from the next of its name; nil if there is none.
local function identity(path)
    local st = ffi.new("struct ml_statx")
    if ffi.C.ml_statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, st) == 0 then
        return ("%s %s %s %s"):format(tostring(st.inode), tostring(st.size),
            tostring(st.modified.seconds), st.modified.nanoseconds)
    end
end

-- Run f with the directory's lock, so that a model and its labels are of one training. What
-- f raises is raised; a call that is interrupted gives the lock back with its file.
local function with_lock(directory, how, f, ...)
    local file = assert(io.open(directory))
    if ffi.C.ml_flock(ffi.C.ml_fileno(file), how) ~= 0 then
        file:close()
        fail("the directory %s can't be locked", directory)
    end
    local ok, result, err = pcall(f, ...)
    file:close()
    if not ok then
        error(result, 0)
    end
    return result, err
end

-- A label is a line of its file.
local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\0"] = "\\0", ["\\"] = "\\\\" }
local UNESCAPES = { n = "\n", r = "\r", ["0"] = "\0", ["\\"] = "\\" }

local function read_labels(path)
    local labels, file = {}, io.open(path)
    for line in file and file:lines() or function() end do
        labels[#labels + 1] = line:gsub("\\([nr0\\])", UNESCAPES)
    end
    if file then
        file:close()
    end
    return labels
end

-- How many values a row of a model has: as many as each of its support vectors, if these leave
-- none out; nil if they do.
local function width_of(handle)
    local width
    for i = 0, handle.l - 1 do
        local nodes, count = handle.SV[i], 0
        while nodes[count].index ~= -1 do
            count = count + 1
            if nodes[count - 1].index ~= count then
                return nil
            end
        end
        if width and width ~= count then
            return nil
        end
        width = count
    end
    return width
end

-- A model from its files; nil, err if there is none. Needs the lock.
function ML:_read(name)
    local path = self:_path(name, "model")
    local handle = self.svm.svm_load_model(path)
    if handle == nil then
        return nil, (identity(path) and "%s is not a libsvm model, or can't be read"
            or "there is no model %s: train it, or move one there"):format(path)
    end
    local count = self.svm.svm_get_nr_class(handle)
    local model = {
        handle = handle,
        order = ffi.new("int[?]", count),
        count = count,
        width = width_of(handle),
        identity = identity(path),
        labels = read_labels(self:_path(name, "labels")),
        scores = ffi.new("double[?]", count),
    }
    self.svm.svm_get_labels(handle, model.order)
    return model
end

-- The model as its file is now; nil, err if there is none.
function ML:_model(name)
    local model = self.models[check_name(name)]
    local now = identity(self:_path(name, "model"))
    if model and (now == nil or now == model.identity) then
        return model
    end
    local fresh, err = with_lock(self.directory, LOCK_SH, self._read, self, name)
    if fresh then
        self:_forget(name)
        self.models[name] = fresh
    end
    return fresh, err
end

--- Load a model, or show that it is loaded.
-- @treturn table `{ loaded = true, name =, classes = }`
function ML:load_model(name)
    local model, err = self:_model(name)
    if not model then
        return nil, err
    end
    return { loaded = true, name = name, classes = model.count }
end

-- One row as libsvm wants it: index and value, ended by index -1. Gives its length too.
-- `where` names the row, `width` is the length that it must have, nil: any.
local function to_nodes(where, row, width)
    local length = length_of(where, row, "numbers", FEATURES_MAX)
    if width and length ~= width then
        fail("%s has %d values, the others have %d", where, length, width)
    end
    local nodes = ffi.new("struct svm_node[?]", length + 1)
    for i, value in ipairs(row) do
        if type(value) ~= "number" or value ~= value or math.abs(value) == math.huge then
            fail("value %d of %s is %s, not a number", i, where, a_kind(value))
        end
        nodes[i - 1].index, nodes[i - 1].value = i, value
    end
    nodes[length].index = -1
    return nodes, length
end

function ML:_classify(model, where, row)
    local nodes, length = to_nodes(where, row)
    if model.width and length ~= model.width then
        fail("%s has %d values, the model was trained with %d", where, length, model.width)
    end
    local class = self.svm.svm_predict_probability(model.handle, nodes, model.scores)
    local probabilities = {}
    for i = 0, model.count - 1 do
        local number = model.order[i]
        probabilities[model.labels[number] or tostring(number)] = model.scores[i]
    end
    return model.labels[class] or tostring(class), probabilities
end

--- Classify one row.
-- @treturn string the label
-- @treturn table the probability of each label
function ML:inference(name, row)
    local model, err = self:_model(name)
    if not model then
        return nil, err
    end
    return self:_classify(model, "the row", row)
end

--- Classify many rows, label by label, as they are done (a stream). All by the model that is
-- there when it begins.
function ML:classify(name, rows)
    local model, err = self:_model(name)
    if not model then
        return nil, err
    end
    local i, count = 0, length_of("classify: the rows", rows, "rows", ROWS_MAX)
    return function()
        i = i + 1
        if i <= count then
            return self:_classify(model, "row " .. i, rows[i])
        end
    end
end

local function problem_of(rows, labels)
    local count = length_of("train: the rows", rows, "rows", ROWS_MAX)
    if length_of("train: the labels", labels, "labels", ROWS_MAX) ~= count then
        fail("train needs as many labels as rows: there are %d rows and %d labels", count, #labels)
    end
    local keep, numbers, names, width = {}, {}, {}, nil
    local x = ffi.new("struct svm_node *[?]", count)
    local y = ffi.new("double[?]", count)
    for i, row in ipairs(rows) do
        local label = label_of(labels[i], i)
        if not numbers[label] then
            names[#names + 1] = label
            numbers[label] = #names
        end
        keep[i], width = to_nodes("row " .. i, row, width)
        x[i - 1], y[i - 1] = keep[i], numbers[label]
    end
    local problem = ffi.new("struct svm_problem", count, y, x)
    return problem, names, { keep, x, y } -- what the problem only points to
end

local function write_labels(path, labels)
    local file = assert(io.open(path, "w"))
    for _, label in ipairs(labels) do
        file:write(label:gsub("[\n\r%z\\]", ESCAPES), "\n")
    end
    assert(file:close())
end

-- Put a trained model and its labels in the place of those that are there. Needs the lock.
-- The model comes last: it is what the lanes look at.
function ML:_save(name, handle, names)
    local path, labels = self:_path(name, "model"), self:_path(name, "labels")
    if self.svm.svm_save_model(path .. ".new", handle) ~= 0 then
        return nil, "the model can't be written to " .. path
    end
    write_labels(labels .. ".new", names)
    assert(os.rename(labels .. ".new", labels))
    assert(os.rename(path .. ".new", path))
    return true
end

--- Train a model, save it and load it.
-- @tparam table rows lists of numbers
-- @tparam table labels one a row
-- @tparam[opt] table o `C` (1), `gamma` (1 / features)
function ML:train(name, rows, labels, o)
    check_name(name)
    o = check_options("train", o, TRAIN_OPTIONS)
    local problem, names, keep = problem_of(rows, labels)
    local parameter = ffi.new("struct svm_parameter", {
        svm_type = C_SVC, kernel_type = RBF, gamma = o.gamma or 1 / #rows[1],
        C = o.C or 1, cache_size = 64, eps = 1e-3, shrinking = 1, probability = 1,
    })
    local wrong = self.svm.svm_check_parameter(problem, parameter)
    if wrong ~= nil then
        return nil, "libsvm: " .. ffi.string(wrong)
    end
    local handle = ffi.new("struct svm_model *[1]", self.svm.svm_train(problem, parameter))
    local saved, err = with_lock(self.directory, LOCK_EX, self._save, self, name, handle[0],
        names)
    self.svm.svm_free_and_destroy_model(handle)
    assert(keep)
    if not saved then
        return nil, err
    end
    return self:load_model(name)
end

function ML:_forget(name)
    local model = self.models[name]
    if model then
        self.svm.svm_free_and_destroy_model(
            ffi.new("struct svm_model *[1]", model.handle))
        self.models[name] = nil
    end
end

function ML:close()
    for name in pairs(self.models) do
        self:_forget(name)
    end
end

return ML
