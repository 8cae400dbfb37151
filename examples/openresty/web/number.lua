--- A number from the arguments of the request. Whatever is none counts as not given, NaN among
-- it, and what is too small or too large as the bound.
-- @tparam string name of the argument
-- @tparam number low
-- @tparam number high
-- @treturn number|nil a whole one
return function(name, low, high)
    local n = tonumber(ngx.var["arg_" .. name])
    if n and n == n then
        return math.floor(math.max(low, math.min(n, high)))
    end
end
