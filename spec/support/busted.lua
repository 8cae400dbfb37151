-- The command `busted` without a first interpreter that starts another (spec/run.sh).
require "busted.runner" { standalone = false }
