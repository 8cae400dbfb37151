# Building
#
# `make help` lists the targets, also those of the parts in build-aux/*.mk. All outputs go under
# $(BUILD).

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

# LuaJIT's command, for specs and benches, by the first of its usual names.
LUA ?= $(notdir $(firstword $(foreach name,luajit luajit2 luajit-2.1,\
         $(shell command -v $(name) 2>/dev/null)) luajit))
# It makes the manual page.
LOWDOWN ?= lowdown

WARN = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
       -Wformat=2 -Wvla $(if $(WERROR),-Werror)
SAN  = $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=undefined \
       $(if $(filter thread,$(SANITIZE)),$(CALLED)))
# The thread sanitizer does not see these where the compiler writes them out.
CALLED = -fno-builtin-memcmp -fno-builtin-memcpy -fno-builtin-memset
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
             help images model reloads uninstall check-trixie check-bookworm \
             deb check-deb check-deb-here check-deb-trixie check-deb-bookworm
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

OUTPUTS  = dirty $(PAGES) $(SHELLS:%=completion.%) libdirty.a libdirty.so lua/dirty/core.so

PAGES    = dirty.1 dirty.conf.5 dirty.3
SHELLS   = bash zsh fish

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

# A manual page of standard input: name, section.
PAGE = $(LOWDOWN) -s -Tman -Mtitle=$1 -Msection=$2 -Msource='dirty $(VERSION)' -o $@ -
PAGE_NAME = mkdir -p $(@D) && printf '\# NAME\n\n%s\n\n'

# The documents under a manual page's usual first section.
$(BUILD)/dirty.1: docs/cli.md Makefile VERSION | lowdown
	($(PAGE_NAME) 'dirty - runs blocking work of servers in processes of its own' && \
	    sed '1s/.*/\# DESCRIPTION/; /^\*\*For:/,/^$$/d' $<) | $(call PAGE,DIRTY,1)

$(BUILD)/dirty.conf.5: docs/configuration.md Makefile VERSION | lowdown
	($(PAGE_NAME) 'dirty.conf - the configuration dirty.conf.lua of dirty(1)' && \
	    sed '1s/.*/\# DESCRIPTION/; /^\*\*For:/,/^$$/d' $<) | $(call PAGE,DIRTY.CONF,5)

$(BUILD)/dirty.3: docs/c-api.md Makefile VERSION | lowdown
	($(PAGE_NAME) 'dirty - calls actions of dirty apps from C or C++' && \
	    sed -n '/^\#\# Synopsis/,$$p' $< | sed 's/^\#\#/\#/') | $(call PAGE,DIRTY,3)

lowdown:
	@command -v $(LOWDOWN) >/dev/null || \
	    { echo '$(LOWDOWN) is missing, which makes the manual pages: run `make deps` first' >&2; false; }

# What completes commands and options in a shell.
$(BUILD)/completion.%: $(BUILD)/dirty lua/dirty/cli/parser.lua lua/dirty/cli/operator.lua \
    lua/dirty/config/options.lua
	$< completion $* >$@.new && mv $@.new $@

# The library inside is the module's own: its names must not meet those of a program that
# links libdirty itself.
$(BUILD)/lua/dirty/core.so: $(call objects,luabind) $(BUILD)/libdirty.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) -shared $(HIDE) $^ -o $@

# -- the binding for Lua 5.4, which has another C API than 5.1 and LuaJIT ----------------
LUA54_CFLAGS := $(shell pkg-config --cflags lua5.4 2>/dev/null)
LUA54_OBJ = $(patsubst %.c,$(BUILD)/obj54/%.o,$(call sources,luabind))

$(BUILD)/obj54/%.o: %.c Makefile VERSION
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(OUR_CFLAGS) $(LUA54_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/lua5.4/dirty/core.so: $(LUA54_OBJ) $(BUILD)/libdirty.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SAN) -shared $(HIDE) $^ -o $@

lua54: $(BUILD)/lua5.4/dirty/core.so ## build the client module for Lua 5.4

# -- commands that install the packages they need, then build ---------------------------
# on all CPUs, unless they have been told how many jobs to run
SUBMAKE = $(MAKE) --no-print-directory --silent \
          $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

demo: deps ## start the runtime, make a thumbnail of a photograph, stop
	@echo "building $(BUILD)/dirty"
	@+$(SUBMAKE) all
	@DIRTY_BUILD=$(BUILD) examples/demo.sh

clean: ## remove all outputs
	rm -rf $(BUILD)

# The targets with `##` and their words, in the order of the parts, each under its first line.
help: ## list the targets
	@awk -F ':.*## ' 'FNR == 1 { title = substr($$0, 3) } \
	    /^[a-z0-9-]+:.*## / { if (title) print title; title = ""; printf "  %-15s %s\n", $$1, $$2 }' \
	    Makefile $(PARTS)

.PHONY: FORCE all clean demo help lowdown lua54

# -- the parts ---------------------------------------------------------------------------
PARTS = $(patsubst %,build-aux/%.mk,programs packages tests checks stress fuzz bench install)
include $(PARTS)
