# Long runs of what `make test` does for a moment

STORM ?= 10000

storm: all $(BUILD)/spec/test_interrupt ## interrupt STORM (10000) calls in one worker, twice
	@DIRTY_STORM=$(STORM) $(RUN_TESTS) c $(BUILD)/spec/test_interrupt
	@DIRTY_STORM=$(STORM) $(RUN_TESTS) lua spec/runtime/interrupt_spec.lua

CHAOS_SECONDS ?= 60

chaos: deps ## kill workers under load for CHAOS_SECONDS (60), or CALLS, and account for every call
	@$(MAKE) --no-print-directory --silent all $(SPEC_TOOLS) $(BUILD)/bench/load
	@DIRTY_BUILD=$(BUILD) CHAOS_SECONDS=$(CHAOS_SECONDS) CHAOS_CALLS=$(CALLS) CHAOS_BEHEAD_S=$(BEHEAD_S) \
	    $(LUA) spec/chaos/run.lua

CROWD_SECONDS ?= 60

crowd: deps ## call by one event-driven client for CROWD_SECONDS (60) under kills, and in valgrind
	@$(MAKE) --no-print-directory --silent all $(BUILD)/crowd/crowd
	@DIRTY_BUILD=$(BUILD) CROWD_SECONDS=$(CROWD_SECONDS) $(RUN_TESTS) lua spec/runtime/crowd_spec.lua

RANDOM_SECONDS ?= 60
RANDOM_RUN = DIRTY_BUILD=$(BUILD) RANDOM_SECONDS=$(RANDOM_SECONDS) RANDOM_SEED=$(RANDOM_SEED) \
             RANDOM_WITHOUT=$(RANDOM_WITHOUT) $(LUA) spec/random/run.lua

random: deps ## let random clients loose for RANDOM_SECONDS (60); RANDOM_SEED=n repeats; ASAN=1: sanitizers
	@+$(SUBMAKE) all
	@+$(if $(ASAN),$(ASAN_MAKE),$(SUBMAKE)) random-run

random-run: all $(BUILD)/random/random
	@$(RANDOM_RUN)

RELOADS ?= 100
CALLERS ?= 32

reloads: deps ## reload RELOADS (100) times at CALLERS (32) callers: no call may fail
	@$(MAKE) --no-print-directory --silent all
	@DIRTY_RELOADS=$(RELOADS) DIRTY_CALLERS=$(CALLERS) $(RUN_TESTS) lua spec/runtime/reloads_spec.lua

.PHONY: chaos crowd random random-run reloads storm
