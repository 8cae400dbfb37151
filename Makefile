# lua-dirty. `make help` lists the targets. All outputs go under $(BUILD).

BUILD    ?= build
PREFIX   ?= /usr/local
DESTDIR  ?=
CC       ?= cc
CFLAGS   ?= -O2 -g
# SANITIZE=address,undefined builds with sanitizers, WERROR=1 makes warnings errors.
SANITIZE ?=
WERROR   ?=
# A LuaJIT that is not the system's, such as OpenResty's: /usr/local/openresty/luajit
LUAJIT_PREFIX ?=

VERSION := $(shell cat VERSION)
BINDIR  = $(PREFIX)/bin
LIBDIR  = $(PREFIX)/lib
INCDIR  = $(PREFIX)/include

# LuaJIT's command, for specs and benches, by the first of its usual names.
LUA ?= $(notdir $(firstword $(foreach name,luajit luajit2 luajit-2.1,\
         $(shell command -v $(name) 2>/dev/null)) luajit))

# Debian packages; README.md says what each is for. a/b are the names that one has in two releases
# of Debian, 12 and 13; the first that is there is installed (build-aux/deps.sh).
DEPS_BUILD  = gcc libc6-dev make pkg-config libuv1-dev uthash-dev lua-cjson lua-argparse lowdown
DEPS_LUAJIT = libluajit2-5.1-dev/libluajit-5.1-dev
DEPS_RUN   = libvips42/libvips42t64 libsvm3
DEPS_DEMO  = lomiri-wallpapers-20.04
DEPS_TEST  = luajit2/luajit libcmocka-dev lua-busted lua-posix liblua5.1-0-dev liblua5.4-dev \
             lua5.1 lua5.4 nginx libnginx-mod-http-lua openssl luarocks python3 \
             python3-vega-datasets valgrind libmicrohttpd-dev groff-base procps git
DEPS_LINT  = clang-format-19 clang-tidy-19 cppcheck lua-check shellcheck g++ yamllint docker-compose
DEPS_FUZZ  = clang libclang-rt-dev
DEPS_BENCH = valgrind strace
DEPS_IMAGES = buildah mmdebstrap curl

WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
       -Wformat=2 -Wvla $(if $(WERROR),-Werror)
SAN  = $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
OUR_CFLAGS = -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden $(WARN) $(SAN) \
       -Iruntime -Iruntime/include -I. -DDIRTY_VERSION='"$(VERSION)"'
ifeq ($(LUAJIT_PREFIX),)
LUAJIT_CFLAGS := $(shell pkg-config --cflags luajit 2>/dev/null)
LUAJIT_LIBS   := $(shell pkg-config --libs luajit 2>/dev/null)
else
LUAJIT_CFLAGS := -I$(LUAJIT_PREFIX)/include/luajit-2.1
LUAJIT_LIBS   := -L$(LUAJIT_PREFIX)/lib -Wl,-rpath,$(LUAJIT_PREFIX)/lib -lluajit-5.1
ifeq ($(wildcard $(LUAJIT_PREFIX)/include/luajit-2.1/luajit.h),)
$(error LUAJIT_PREFIX=$(LUAJIT_PREFIX): no LuaJIT 2.1 is installed there, it has no include/luajit-2.1/luajit.h)
endif
endif
UV_CFLAGS     := $(shell pkg-config --cflags libuv 2>/dev/null)
# libuv is linked into the command, unseen from outside: what it keeps for the whole process
# is the arbiter's, and an app that uses libuv loads the system's, as new. Where there is no
# archive of it they share one, and such an app can't watch signals or start programs.
UV_LIBS       := $(or $(shell pkg-config --libs libuv-static 2>/dev/null), \
                 $(shell pkg-config --libs libuv 2>/dev/null))
HIDE           = -Wl,--exclude-libs,ALL

# These goals work before the packages are there; what they build is built by a make of its
# own, which reads pkg-config again.
BARE_GOALS = deps demo test lint asan tsan memcheck crowd random fuzz bench bench-openresty chaos clean \
             help images reloads uninstall check-trixie check-bookworm
ifneq ($(filter-out $(BARE_GOALS),$(or $(MAKECMDGOALS),all)),)
ifeq ($(and $(LUAJIT_LIBS),$(UV_LIBS)),)
$(error pkg-config finds no luajit or no libuv: run `make deps` first)
endif
endif

sources = $(wildcard runtime/$(1)/*.c)
objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(call sources,$(1)))
LIB_OBJ  = $(call objects,base) $(call objects,wire) $(call objects,client)
MAIN_OBJ = $(BUILD)/obj/runtime/cli/main.o
CORE_OBJ = $(filter-out $(MAIN_OBJ),$(LIB_OBJ) $(call objects,supervisor) $(call objects,arbiter) \
           $(call objects,worker) $(call objects,luabind) $(call objects,cli))
# helpers that every C test is linked with
SPEC_OBJ = $(patsubst %,$(BUILD)/obj/spec/c/%.o,harness fixtures walk)
TESTS_C  = $(patsubst spec/c/%.c,$(BUILD)/spec/%,$(wildcard spec/c/test_*.c))

OUTPUTS  = dirty dirty.1 libdirty.a libdirty.so lua/dirty/core.so

all: $(OUTPUTS:%=$(BUILD)/%) ## build everything

-include $(shell find $(BUILD)/obj $(BUILD)/obj54 $(BUILD)/spec -name '*.d' 2>/dev/null)

# What was built with another LuaJIT is built anew: this file changes with the flags for it.
LUAJIT_USED = $(BUILD)/luajit.flags
$(LUAJIT_USED): FORCE
	@mkdir -p $(@D)
	@echo '$(LUAJIT_CFLAGS) $(LUAJIT_LIBS)' | cmp -s - $@ || \
	    echo '$(LUAJIT_CFLAGS) $(LUAJIT_LIBS)' >$@

# A LuaJIT of its own place does not search the modules of its OpenResty, nor Debian's.
ifneq ($(LUAJIT_PREFIX),)
$(BUILD)/obj/runtime/cli/paths.o: OUR_CFLAGS += \
    -DDIRTY_MORE_LUA='"/usr/share/lua/5.1/?.lua;/usr/share/lua/5.1/?/init.lua"' \
    -DDIRTY_MORE_C='"$(abspath $(LUAJIT_PREFIX)/../lualib)/?.so;$(MULTIARCH_DIR)/lua/5.1/?.so"'
MULTIARCH_DIR = $(abspath /usr/lib/$(shell $(CC) -print-multiarch 2>/dev/null))
endif

$(BUILD)/obj/%.o: %.c Makefile VERSION $(LUAJIT_USED)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(OUR_CFLAGS) $(LUAJIT_CFLAGS) $(UV_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/dirty: $(CORE_OBJ) $(MAIN_OBJ)
	$(CC) $(CFLAGS) $(SAN) -rdynamic $(HIDE) $^ $(LUAJIT_LIBS) $(UV_LIBS) -lpthread -ldl -lm -o $@

$(BUILD)/libdirty.a: $(LIB_OBJ)
	rm -f $@ && ar rcs $@ $^

$(BUILD)/libdirty.so: $(LIB_OBJ)
	$(CC) $(CFLAGS) $(SAN) -shared -Wl,-soname,libdirty.so.0 $^ -o $@

# The document under a manual page's usual first section.
$(BUILD)/dirty.1: docs/cli.md Makefile VERSION
	@mkdir -p $(@D)
	(printf '# NAME\n\ndirty - runs blocking work of servers in processes of its own\n\n# DESCRIPTION\n' && \
	    sed 1d $<) | lowdown -s -Tman -Mtitle=DIRTY -Msection=1 -Msource='dirty $(VERSION)' -o $@ -

# The library inside is the module's own: its names must not meet those of a program that
# links libdirty itself.
$(BUILD)/lua/dirty/core.so: $(call objects,luabind) $(BUILD)/libdirty.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) -shared $(HIDE) $^ -o $@

# -- the client's tests share a fake server --------------------------------------------
CLIENT_RIG = $(patsubst %,$(BUILD)/obj/spec/c/%.o,fake_server client_rig)
$(patsubst %,$(BUILD)/spec/test_%,client client_faults client_connect client_memory stream async free_order): $(CLIENT_RIG)

# -- the binding for Lua 5.4, which has another C API than 5.1 and LuaJIT ----------------
LUA54_CFLAGS := $(shell pkg-config --cflags lua5.4 2>/dev/null)
LUA54_OBJ = $(patsubst %.c,$(BUILD)/obj54/%.o,$(call sources,luabind))

$(BUILD)/obj54/%.o: %.c Makefile VERSION
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(OUR_CFLAGS) $(LUA54_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/lua5.4/dirty/core.so: $(LUA54_OBJ) $(BUILD)/libdirty.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) -shared $(HIDE) $^ -o $@

.PHONY: lua54
lua54: $(BUILD)/lua5.4/dirty/core.so ## build the client module for Lua 5.4
test-lua test-run test-programs: lua54

$(BUILD)/spec/%: spec/c/%.c $(SPEC_OBJ) $(CORE_OBJ)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(OUR_CFLAGS) $(LUAJIT_CFLAGS) $(UV_CFLAGS) -MMD -MP -rdynamic $(filter %.c %.o,$^) \
	    $(LUAJIT_LIBS) $(UV_LIBS) -lcmocka -lpthread -ldl -lm -o $@

$(patsubst %,$(BUILD)/spec/test_%,arbiter ends listener moments reload scarce_memory waits): $(BUILD)/obj/spec/c/arbiter_rig.o

# -- tests: spec/run.sh runs them and sums both runners ---------------------------------
# TEST_SECONDS is the time limit of one C test program, SPEC_SECONDS that of one file of specs.
TEST_SECONDS ?= 120
SPEC_SECONDS ?= 600
RUN_TESTS = LUA=$(LUA) DIRTY_BUILD=$(BUILD) TEST_SECONDS=$(TEST_SECONDS) \
            SPEC_SECONDS=$(SPEC_SECONDS) spec/run.sh

test-c: $(TESTS_C) ## run the C tests (cmocka)
	@$(RUN_TESTS) c $(TESTS_C)

test-lua: all ## run the Lua specs (busted); SPEC=file runs one
	@$(RUN_TESTS) lua $(SPEC)

test-run: all $(TESTS_C) ## run both and sum them
	@$(RUN_TESTS) all $(TESTS_C)

test-programs: all lua54 $(TESTS_C) ## build what the tests run, and run none

# -- commands that install the packages they need, then build ---------------------------
# on all CPUs, unless they have been told how many jobs to run
SUBMAKE = $(MAKE) --no-print-directory --silent \
          $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

deps: ## install the missing Debian packages of build, demo and tests
	@build-aux/deps.sh $(DEPS_BUILD) $(if $(LUAJIT_PREFIX),,$(DEPS_LUAJIT)) $(DEPS_RUN) \
	    $(DEPS_DEMO) $(DEPS_TEST)

demo: deps ## start the runtime, make a thumbnail of a photograph, stop
	@echo "building $(BUILD)/dirty"
	@+$(SUBMAKE) all
	@DIRTY_BUILD=$(BUILD) examples/demo.sh

test: deps ## build and run all tests; the last line sums them
	@+$(SUBMAKE) test-run

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

.PHONY: tsan memcheck
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

LINT_CFLAGS = $(filter-out -fPIC -DDIRTY_VERSION=% $(WARN) $(SAN),$(OUR_CFLAGS)) \
              -DDIRTY_VERSION="$(VERSION)" $(LUAJIT_CFLAGS) $(UV_CFLAGS)

lint: deps ## check sources: format, analysis, layers, versions; CHECK=name for one
	@build-aux/deps.sh $(DEPS_LINT)
	@$(MAKE) --no-print-directory lint-run

lint-run:
	@CC='$(CC)' LINT_CFLAGS='$(LINT_CFLAGS)' LINT_WARN='$(WARN)' build-aux/lint.sh $(CHECK)

# -- storm: the interrupts of running calls, many times more than `make test` makes -----
STORM ?= 10000

storm: all $(BUILD)/spec/test_interrupt ## interrupt STORM (10000) calls in one worker, twice
	@DIRTY_STORM=$(STORM) $(RUN_TESTS) c $(BUILD)/spec/test_interrupt
	@DIRTY_STORM=$(STORM) $(RUN_TESTS) lua spec/runtime/interrupt_spec.lua

# -- bench: the floors the runtime is compared with, and a load generator ---------------
BENCH_OBJ   = $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard bench/*.c))
FLOOR_OBJ   = $(filter %/socket.o %/floor.o %/floor_one.o %/floor_pass.o,$(BENCH_OBJ))
LOAD_OBJ    = $(filter %/socket.o %/load.o %/call.o %/histogram.o,$(BENCH_OBJ))
BENCH_TOOLS = $(BUILD)/bench/floor $(BUILD)/bench/load

bench: deps ## measure against the floors (BENCH_QUICK=1: a short run; see docs/design.md)
	@build-aux/deps.sh $(DEPS_BENCH)
	@$(MAKE) --no-print-directory --silent all $(BENCH_TOOLS)
	@DIRTY_BUILD=$(BUILD) $(LUA) bench/run.lua

$(BUILD)/bench/floor: $(FLOOR_OBJ) $(call objects,wire) $(call objects,base)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) $^ -o $@

$(BUILD)/bench/load: $(LOAD_OBJ) $(call objects,wire) $(call objects,base)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) $^ -o $@

# -- bench-openresty: calls from nginx, against what else nginx can ask ------------------
DEPS_BENCH_OPENRESTY = nginx libnginx-mod-http-lua wrk php-fpm

.PHONY: bench-openresty
bench-openresty: deps ## measure calls from nginx, against PHP-FPM and nginx's threads
	@build-aux/deps.sh $(DEPS_BENCH_OPENRESTY)
	@$(MAKE) --no-print-directory --silent all
	@DIRTY_BUILD=$(BUILD) $(LUA) bench/openresty.lua

# -- chaos: what a runtime does while its processes are killed, and under load -----------
CHAOS_SECONDS ?= 60
CHAOS_OBJ   = $(patsubst %,$(BUILD)/obj/spec/chaos/%.o,call caller chaos monkey tally)
CHAOS_TOOLS = $(BUILD)/chaos/chaos $(BUILD)/chaos/queue
test-lua test-run test-programs: $(CHAOS_TOOLS)

.PHONY: chaos
chaos: deps ## kill workers under load for CHAOS_SECONDS (60) and account for every call
	@$(MAKE) --no-print-directory --silent all $(CHAOS_TOOLS) $(BUILD)/bench/load $(BUILD)/random/random
	@DIRTY_BUILD=$(BUILD) CHAOS_SECONDS=$(CHAOS_SECONDS) $(LUA) spec/chaos/run.lua

$(BUILD)/chaos/chaos: $(CHAOS_OBJ) $(LIB_OBJ)
$(BUILD)/chaos/queue: $(BUILD)/obj/spec/chaos/queue.o $(LIB_OBJ)
$(CHAOS_TOOLS):
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) $^ -o $@

# -- crowd: one event-driven client with 256 connections at a runtime that is being killed --
CROWD_SECONDS ?= 60
CROWD_OBJ = $(patsubst %,$(BUILD)/obj/spec/%.o,crowd/crowd crowd/record chaos/monkey chaos/call)
test-lua test-run test-programs: $(BUILD)/crowd/crowd

.PHONY: crowd
crowd: deps ## call by one event-driven client for CROWD_SECONDS (60) under kills, and in valgrind
	@$(MAKE) --no-print-directory --silent all $(BUILD)/crowd/crowd
	@DIRTY_BUILD=$(BUILD) CROWD_SECONDS=$(CROWD_SECONDS) $(RUN_TESTS) lua spec/runtime/crowd_spec.lua

$(BUILD)/crowd/crowd: $(CROWD_OBJ) $(LIB_OBJ)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) $^ -o $@

# -- random: a hundred connections that do whatever a client may do --------------------------
RANDOM_OBJ = $(patsubst %,$(BUILD)/obj/spec/%.o,$(addprefix random/,ask delivery extend history judge \
             peer peer_read peer_send random spoil world) chaos/monkey chaos/call)
RANDOM_SECONDS ?= 60
RANDOM_RUN = DIRTY_BUILD=$(BUILD) RANDOM_SECONDS=$(RANDOM_SECONDS) RANDOM_SEED=$(RANDOM_SEED) \
             RANDOM_WITHOUT=$(RANDOM_WITHOUT) luajit spec/random/run.lua
test-lua test-run test-programs: $(BUILD)/random/random

.PHONY: random random-run
random: deps ## let random clients loose for RANDOM_SECONDS (60); RANDOM_SEED=n repeats; ASAN=1: sanitizers
	@+$(SUBMAKE) all
	@+$(if $(ASAN),$(ASAN_MAKE),$(SUBMAKE)) random-run

random-run: all $(BUILD)/random/random
	@$(RANDOM_RUN)

$(BUILD)/random/random: $(RANDOM_OBJ) $(LIB_OBJ)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) $^ -o $@

# -- spawn: a program that owns a runtime, for the specs -------------------------------------
$(BUILD)/spawn/owner: $(BUILD)/obj/spec/spawn/owner.o $(LIB_OBJ)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) $^ -lpthread -o $@

test-lua test-run test-programs: $(BUILD)/spawn/owner

# -- what stands before the C library in specs: without sanitizers, as it comes first ----
$(BUILD)/preload/%.so: spec/preload/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(filter-out $(SAN),$(OUR_CFLAGS)) -shared $< -ldl -o $@

test-lua test-run test-programs: $(BUILD)/preload/late_names.so

# -- install ----------------------------------------------------------------------------
INSTALL = BUILD=$(BUILD) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) VERSION=$(VERSION) \
          BINDIR=$(BINDIR) LIBDIR=$(LIBDIR) INCDIR=$(INCDIR) build-aux/install.sh

install: all ## install below PREFIX (/usr/local); DESTDIR goes before it
	@$(INSTALL) install

# What the rockspecs call; the values of the ROCK_ variables are LuaRocks'.
rock: $(BUILD)/dirty $(BUILD)/lua/dirty/core.so

install-rock:
	@BUILD=$(BUILD) PREFIX= DESTDIR= VERSION=$(VERSION) ROCK_BINDIR=$(ROCK_BINDIR) \
	  ROCK_LUADIR=$(ROCK_LUADIR) ROCK_LIBDIR=$(ROCK_LIBDIR) build-aux/install.sh rock

DIST ?= $(VERSION)
dist: ## pack the tracked files into $(BUILD)/lua-dirty-VERSION.tar.gz
	@mkdir -p $(BUILD)
	git archive --format=tar.gz --prefix=lua-dirty-$(DIST)/ -o $(BUILD)/lua-dirty-$(DIST).tar.gz HEAD

# The packed rock carries the archive inside; LuaRocks wants an absolute url to pack it from.
src-rock: dist ## pack $(BUILD)/lua-dirty-VERSION-1.src.rock (needs luarocks)
	@sed 's,url = ",url = "file://$(abspath $(BUILD))/,' rockspec/lua-dirty-$(VERSION)-1.rockspec \
	  >$(BUILD)/lua-dirty-$(VERSION)-1.rockspec
	cd $(BUILD) && luarocks --lua-version=5.1 pack lua-dirty-$(VERSION)-1.rockspec

uninstall: ## remove what install put there
	@$(INSTALL) uninstall

# -- mutants: are the tests good enough to notice a broken line? ----------------------------
SEED  ?= 1
COUNT ?= 40

.PHONY: mutants
mutants: deps ## break COUNT (40) lines, chosen by SEED (1), and see the tests notice (40 minutes)
	@SEED=$(SEED) COUNT=$(COUNT) ONLY=$(ONLY) $(LUA) spec/mutants/run.lua

# -- fuzz: libFuzzer over what reads bytes of peers ----------------------------------------
FUZZ_SECONDS ?= 30
FUZZ_CC      ?= clang
FUZZ_FLAGS    = -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
                -fno-omit-frame-pointer
FUZZ_SRC      = $(wildcard runtime/base/*.c runtime/wire/*.c) \
                spec/c/walk.c
FUZZERS       = $(patsubst spec/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard spec/fuzz/fuzz_*.c))

fuzz: deps ## fuzz the wire's decoders for FUZZ_SECONDS (30) each
	@build-aux/deps.sh $(DEPS_FUZZ)
	@$(MAKE) --no-print-directory --silent fuzz-run

fuzz-run: $(FUZZERS)
	@LUA=$(LUA) spec/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZERS)

$(BUILD)/fuzz/%: spec/fuzz/%.c $(FUZZ_SRC) $(wildcard runtime/base/*.h runtime/wire/*.h spec/c/*.h)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(FUZZ_FLAGS) $(filter-out -fPIC $(SAN),$(OUR_CFLAGS)) \
	    $(filter %.c,$^) -lm -o $@

# -- reloads: reload after reload under the load of many callers -------------------------
RELOADS ?= 100
CALLERS ?= 32

.PHONY: reloads
reloads: deps ## reload RELOADS (100) times at CALLERS (32) callers: no call may fail
	@$(MAKE) --no-print-directory --silent all
	@DIRTY_RELOADS=$(RELOADS) DIRTY_CALLERS=$(CALLERS) $(RUN_TESTS) lua spec/runtime/reloads_spec.lua

# -- images: those of examples/docker, built and run without an engine -------------------
.PHONY: images
images: deps ## build and run the images of examples/docker (root; some minutes)
	@build-aux/deps.sh $(DEPS_IMAGES)
	@build-aux/images.sh

# -- check-trixie, check-bookworm: as on a machine that has nothing yet ------------------
FRESH ?= demo test

check-trixie: ## run FRESH (demo test) in a fresh Debian 13 (root; some minutes)
check-bookworm: ## run FRESH (demo test) in a fresh Debian 12
.PHONY: check-trixie check-bookworm
check-trixie check-bookworm: check-%:
	@build-aux/deps.sh mmdebstrap procps
	@build-aux/fresh.sh $* $(FRESH)

# -- check-all: what takes too long for every change (.ci/run) ------------------------------
LONG_CHECKS = 'asan' 'tsan' 'memcheck' 'chaos' 'random ASAN=1' 'crowd' 'reloads' 'storm' 'fuzz' \
              'check-trixie' 'check-bookworm' 'images' 'bench' 'bench-openresty'

.PHONY: check-all
check-all: ## run every check that .ci/run leaves out (two hours, root)
	@.ci/run $(LONG_CHECKS)

clean: ## remove all outputs
	rm -rf $(BUILD)

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-15s %s\n", $$1, $$2}'


.PHONY: FORCE rock install-rock dist src-rock
.PHONY: all asan bench clean demo deps fuzz fuzz-run help install lint lint-run storm test test-c \
        test-lua test-programs test-run uninstall
