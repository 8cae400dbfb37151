# Tests, also under sanitizers and valgrind

# helpers that every C test is linked with
SPEC_OBJ = $(patsubst %,$(BUILD)/obj/spec/c/%.o,harness fixtures walk)
TESTS_C  = $(patsubst spec/c/%.c,$(BUILD)/spec/%,$(wildcard spec/c/test_*.c))

# The client's tests share a fake server; those that have an arbiter in them share how it is set up.
$(patsubst %,$(BUILD)/spec/test_%,client client_faults client_connect client_memory stream async free_order): \
    $(patsubst %,$(BUILD)/obj/spec/c/%.o,fake_server client_rig)
$(patsubst %,$(BUILD)/spec/test_%,arbiter ends listener moments ready ready_threads reload \
    scarce_memory waits): \
    $(BUILD)/obj/spec/c/arbiter_rig.o

# Its workers are threads: it stands between the arbiter and what starts and ends processes. And
# it keeps the arbiter from rescuing requests.
$(BUILD)/spec/test_ready_threads: $(BUILD)/obj/spec/c/thread_workers.o
$(BUILD)/spec/test_ready_threads: WRAP = $(patsubst %,-Wl$(comma)--wrap=%,child_start waitid waitpid kill \
    syscall shared_conns_take)
comma = ,

$(BUILD)/spec/%: spec/c/%.c $(SPEC_OBJ) $(CORE_OBJ) build-aux/tests.mk
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(OUR_CFLAGS) $(LUAJIT_CFLAGS) $(UV_CFLAGS) -MMD -MP -rdynamic $(filter %.c %.o,$^) $(WRAP) \
	    $(LUAJIT_LIBS) $(UV_LIBS) -lcmocka -lpthread -ldl -lm -o $@

# -- spec/run.sh runs them and sums both runners -----------------------------------------
# TEST_SECONDS is the time limit of one C test program, SPEC_SECONDS that of one file of specs.
TEST_SECONDS ?= 120
SPEC_SECONDS ?= 600
RUN_TESTS = LUA=$(LUA) DIRTY_BUILD=$(BUILD) TEST_SECONDS=$(TEST_SECONDS) \
            SPEC_SECONDS=$(SPEC_SECONDS) spec/run.sh

test: deps ## build and run all tests; the last line sums them
	@+$(SUBMAKE) test-run

test-c: $(TESTS_C) ## run the C tests (cmocka)
	@$(RUN_TESTS) c $(TESTS_C)

SPEC_NEEDS = all lua54 $(SPEC_TOOLS) $(PRELOADS)

test-lua: $(SPEC_NEEDS) ## run the Lua specs (busted); SPEC=file runs one
	@$(RUN_TESTS) lua $(SPEC)

test-run: $(SPEC_NEEDS) $(TESTS_C) ## run both and sum them
	@$(RUN_TESTS) all $(TESTS_C)

test-programs: $(SPEC_NEEDS) $(TESTS_C) ## build what the tests run, and run none

# -- the same on builds that watch memory and threads ------------------------------------
# The specs' own interpreter is not sanitized, so it gets the C module of the plain build.
# SHORT=1 leaves out those of documents, packages and the Lua client in nginx: what they run of
# our C others run too.
LONG_SPECS  = $(shell find spec/docs spec/package spec/openresty -name '*_spec.lua')
SHORT_SPECS = $(filter-out $(LONG_SPECS),$(shell find spec -name '*_spec.lua'))

ASAN_MAKE = DIRTY_CORE=$(BUILD)/lua DIRTY_SPEC_SLOW=3 UBSAN_OPTIONS=print_stacktrace=1 \
	    LSAN_OPTIONS=suppressions=$(CURDIR)/build-aux/lsan.supp:print_suppressions=0 \
	    $(SUBMAKE) BUILD=$(BUILD)/asan SANITIZE=address,undefined

asan: deps ## run all tests with the address and undefined sanitizers (SHORT=1: fewer)
	@+$(SUBMAKE) all lua54 $(BUILD)/spawn/owner $(BUILD)/crowd/crowd
	@+$(if $(SHORT),DIRTY_SPECS='$(SHORT_SPECS)') $(ASAN_MAKE) test-run

# What runs in threads, and the course of a whole runtime: start, load, reload, crash, stop.
WATCHED = spec/runtime/course_spec.lua
# test_client_faults: its server takes orders by sockets, which are no order to the watcher
UNWATCHED_C = %/test_client_faults

tsan: deps ## run the C tests and a runtime's course on a build that finds data races
	@+$(SUBMAKE) all
	@+DIRTY_CORE=$(BUILD)/lua TSAN_OPTIONS=history_size=4,allocator_may_return_null=1 \
	    $(SUBMAKE) BUILD=$(BUILD)/tsan SANITIZE=thread tsan-run

tsan-run: all $(filter-out $(UNWATCHED_C),$(TESTS_C))
	@$(RUN_TESTS) c $(filter-out $(UNWATCHED_C),$(TESTS_C))
	@$(RUN_TESTS) lua $(WATCHED)

memcheck: deps ## run a runtime's course under valgrind
	@build-aux/deps.sh $(DEPS_BENCH)
	@+DIRTY_WATCH=memcheck DIRTY_SPEC_SLOW=5 $(SUBMAKE) test-lua SPEC=$(WATCHED)

.PHONY: asan memcheck test test-c test-lua test-programs test-run tsan tsan-run
