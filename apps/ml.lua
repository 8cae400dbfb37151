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
-- Labels are strings; they are kept beside the model, in NAME.labels, a line each.
--
-- Every lane has models of its own, and the directory is what lanes share: a call whose model
-- its lane has not, or has from a file that is another one by now, loads it first. So it does
-- not matter which worker trains and which one answers. `load_model` and `preload` only spare
-- the first call that time. A model whose file is gone stays in the lanes that have it.
--
-- Training replaces both files under a lock (flock) of the directory, and loading holds it
-- too. Who brings models from elsewhere moves them in (mv), whole.
--
-- It needs libsvm.so.3 (Debian: libsvm3).

local dirty = require "dirty"
local ffi = require "ffi"

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
struct svm_model;
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
]]

local C_SVC, RBF = 0, 2
local FEATURES_MAX, ROWS_MAX = 10000, 100000
local AT_FDCWD, STATX_BASIC_STATS = -100, 0x7ff
local LOCK_SH, LOCK_EX = 1, 2

function ML:init(options)
    local ok, svm = pcall(ffi.load, "libsvm.so.3")
    if not ok then
        error("libsvm.so.3 can't be loaded (Debian: apt-get install libsvm3): " .. svm)
    end
    -- Training talks on stdout; a function that does nothing with the text keeps it quiet.
    svm.svm_set_print_string_function(ffi.cast("void (*)(const char *)", ffi.C.strlen))
    self.svm = svm
    self.directory = options and options.models or "."
    self.models = {}
    for _, name in ipairs(options and options.preload or {}) do
        local loaded, err = self:load_model(name)
        if not loaded then
            error(err, 0)
        end
    end
end

-- Names are parts of paths: nothing but word characters.
local function check_name(name)
    if type(name) ~= "string" or not name:find("^[%w_-]+$") then
        error("a model's name is made of letters, digits, _ and -")
    end
    return name
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
        error(("the directory %s can't be locked"):format(directory))
    end
    local ok, result, err = pcall(f, ...)
    file:close()
    if not ok then
        error(result, 0)
    end
    return result, err
end

local function read_labels(path)
    local labels, file = {}, io.open(path)
    for line in file and file:lines() or function() end do
        labels[#labels + 1] = line
    end
    if file then
        file:close()
    end
    return labels
end

-- A model from its files; nil, err if there is none. Needs the lock.
function ML:_read(name)
    local path = self:_path(name, "model")
    local handle = self.svm.svm_load_model(path)
    if handle == nil then
        return nil, (identity(path) and "%s is no model of libsvm, or can't be read"
            or "there is no model %s: train it, or move one there"):format(path)
    end
    local count = self.svm.svm_get_nr_class(handle)
    local model = {
        handle = handle,
        order = ffi.new("int[?]", count),
        count = count,
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

-- One row as libsvm wants it: index and value, ended by index -1.
local function to_nodes(row)
    if type(row) ~= "table" or #row == 0 or #row > FEATURES_MAX then
        error(("a row is a list of 1 to %d numbers"):format(FEATURES_MAX))
    end
    local nodes = ffi.new("struct svm_node[?]", #row + 1)
    for i, value in ipairs(row) do
        if type(value) ~= "number" then
            error(("value %d of a row is a %s, not a number"):format(i, type(value)))
        end
        nodes[i - 1].index, nodes[i - 1].value = i, value
    end
    nodes[#row].index = -1
    return nodes
end

function ML:_classify(model, row)
    local class = self.svm.svm_predict_probability(model.handle, to_nodes(row), model.scores)
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
    return self:_classify(model, row)
end

--- Classify many rows, label by label, as they are done (a stream). All by the model that is
-- there when it begins.
function ML:classify(name, rows)
    local model, err = self:_model(name)
    if not model then
        return nil, err
    end
    local i = 0
    return function()
        i = i + 1
        if rows[i] ~= nil then
            return self:_classify(model, rows[i])
        end
    end
end

local function problem_of(rows, labels)
    if type(rows) ~= "table" or type(labels) ~= "table" or #rows ~= #labels
        or #rows == 0 or #rows > ROWS_MAX then
        error(("train wants 1 to %d rows and as many labels"):format(ROWS_MAX))
    end
    local keep, numbers, names = {}, {}, {}
    local x = ffi.new("struct svm_node *[?]", #rows)
    local y = ffi.new("double[?]", #rows)
    for i, row in ipairs(rows) do
        local label = tostring(labels[i])
        if not numbers[label] then
            names[#names + 1] = label
            numbers[label] = #names
        end
        keep[i] = to_nodes(row)
        x[i - 1], y[i - 1] = keep[i], numbers[label]
    end
    local problem = ffi.new("struct svm_problem", #rows, y, x)
    return problem, names, { keep, x, y } -- what the problem only points to
end

local function write_lines(path, lines)
    local file = assert(io.open(path, "w"))
    file:write(table.concat(lines, "\n"), "\n")
    assert(file:close())
end

-- Put a trained model and its labels in the place of those that are there. Needs the lock.
-- The model comes last: it is what the lanes look at.
function ML:_save(name, handle, names)
    local path, labels = self:_path(name, "model"), self:_path(name, "labels")
    if self.svm.svm_save_model(path .. ".new", handle) ~= 0 then
        return nil, "the model can't be written to " .. path
    end
    write_lines(labels .. ".new", names)
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
    o = o or {}
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
