--- Facts about a path and this process, by LuaJIT's FFI. The message of a call that could not
-- connect uses them; only then are they looked up. Without FFI, or if the C library has no
-- statx, there are no facts and the message goes without.
-- @module resty.dirty.facts

local _M = {}

local HERE = -100 -- AT_FDCWD
local BASIC = 0x7ff -- STATX_BASIC_STATS
local SEARCH = 1 -- X_OK
local DENIED = 13 -- EACCES
local DIRECTORY = 0x4000 -- S_IFDIR

-- The names of the functions are ours: other code may have declared the C names differently.
local DECLARATIONS = [[
    struct resty_dirty_statx {
        uint32_t mask, blksize;
        uint64_t attributes;
        uint32_t nlink, uid, gid;
        uint16_t mode;
        uint8_t rest[226]; /* 256 bytes in all, on every platform */
    };
    int resty_dirty_statx(int, const char *, int, unsigned, struct resty_dirty_statx *)
        __asm__("statx");
    int resty_dirty_access(const char *, int) __asm__("access");
    unsigned resty_dirty_geteuid(void) __asm__("geteuid");
    unsigned resty_dirty_getegid(void) __asm__("getegid");
    char *resty_dirty_strerror(int) __asm__("strerror");
]]

local loaded, ffi, C

local function load()
    if loaded == nil then
        local ok
        ok, ffi = pcall(require, "ffi")
        loaded = ok and pcall(ffi.cdef, DECLARATIONS) and pcall(function()
            C = ffi.C
            return C.resty_dirty_statx, C.resty_dirty_access
        end)
    end
    return loaded
end

--- Get the user and group of this process.
-- @treturn number|nil uid; nil if it can't be known
-- @treturn number|nil gid
function _M.caller()
    if not load() then
        return nil
    end
    return C.resty_dirty_geteuid(), C.resty_dirty_getegid()
end

--- Get facts about a path. Follows links.
-- @tparam string path
-- @treturn table|nil `mode` (permission bits), `uid`, `gid`, `is_directory`; nil if it can't be
--   looked at
-- @treturn nil|string why it can't; nil if nothing can be known
function _M.of(path)
    if not load() then
        return nil
    end
    local st = ffi.new("struct resty_dirty_statx")
    if C.resty_dirty_statx(HERE, path, 0, BASIC, st) ~= 0 then
        return nil, ffi.string(C.resty_dirty_strerror(ffi.errno()))
    end
    return { mode = st.mode % 4096, uid = st.uid, gid = st.gid,
        is_directory = st.mode - st.mode % 4096 == DIRECTORY }
end

--- Find the first directory of a path that this process may not search.
-- @tparam string path
-- @treturn string|nil
function _M.closed_directory(path)
    if not load() then
        return nil
    end
    for at in path:gmatch("()/") do
        local dir = at == 1 and "/" or path:sub(1, at - 1)
        if C.resty_dirty_access(dir, SEARCH) ~= 0 and ffi.errno() == DENIED then
            return dir
        end
    end
end

return _M
