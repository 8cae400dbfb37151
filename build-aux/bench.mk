# Benches

bench: deps ## measure against the floors (BENCH_QUICK=1: a short run; see docs/design.md)
	@build-aux/deps.sh $(DEPS_BENCH)
	@$(MAKE) --no-print-directory --silent all $(BENCH_TOOLS)
	@DIRTY_BUILD=$(BUILD) $(LUA) bench/run.lua

bench-openresty: deps ## measure calls from nginx, against PHP-FPM and nginx's threads
	@build-aux/deps.sh $(DEPS_BENCH_OPENRESTY)
	@$(MAKE) --no-print-directory --silent all $(BENCH_TOOLS)
	@DIRTY_BUILD=$(BUILD) $(LUA) bench/openresty.lua

.PHONY: bench bench-openresty
