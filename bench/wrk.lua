-- What wrk says when it is done, as JSON on a line of its own.
-- luacheck: globals done
local REPORT = '{"rate":%.1f,"p50_us":%.0f,"p99_us":%.0f,"sent":%d,"errors":%d}\n'

function done(summary, latency)
    local errors, failed = summary.errors, 0
    for _, kind in ipairs { "connect", "read", "write", "status", "timeout" } do
        failed = failed + errors[kind]
    end
    io.write(REPORT:format(summary.requests / summary.duration * 1e6, latency:percentile(50),
        latency:percentile(99), summary.requests, failed))
end
