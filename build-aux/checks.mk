# Checks of sources, of the tests, and on other systems

LINT_CFLAGS = $(filter-out -fPIC -DDIRTY_VERSION=% $(WARN) $(SAN),$(OUR_CFLAGS)) \
              -DDIRTY_VERSION="$(VERSION)" $(LUAJIT_CFLAGS) $(UV_CFLAGS)

lint: deps ## check sources: format, analysis, layers, versions; CHECK=name for one
	@build-aux/deps.sh $(DEPS_LINT)
	@$(MAKE) --no-print-directory lint-run

lint-run:
	@CC='$(CC)' LINT_CFLAGS='$(LINT_CFLAGS)' LINT_WARN='$(WARN)' build-aux/lint.sh $(CHECK)

SEED  ?= 1
COUNT ?= 40

mutants: deps ## break COUNT (40) lines, chosen by SEED (1), and see the tests notice (40 minutes)
	@SEED=$(SEED) COUNT=$(COUNT) ONLY=$(ONLY) $(LUA) spec/mutants/run.lua

model: ## search a model of the fast path for errors (two minutes)
	@build-aux/deps.sh $(DEPS_MODEL)
	@spec/model/run.sh

pitfalls: deps ## put known mistakes into the fast path and see tests fail; ONLY=name (20 minutes)
	@+$(SUBMAKE) BUILD=build all build/spec/test_ready build/spec/test_ready_threads
	@ONLY=$(ONLY) $(LUA) spec/mutants/pitfalls.lua

# The images are built and run without an engine.
images: deps ## build and run the images of examples/docker (root; some minutes)
	@build-aux/deps.sh $(DEPS_IMAGES)
	@build-aux/images.sh

# As on a machine that has nothing yet.
FRESH ?= demo test

check-trixie: ## run FRESH (demo test) in a fresh Debian 13 (root; some minutes)
check-bookworm: ## run FRESH (demo test) in a fresh Debian 12
check-trixie check-bookworm: check-%:
	@build-aux/deps.sh mmdebstrap procps
	@build-aux/fresh.sh $* $(FRESH)

check-deb: check-deb-trixie check-deb-bookworm ## make and try the packages in Debian 13 and 12
check-deb-trixie check-deb-bookworm: check-deb-%:
	@build-aux/deps.sh mmdebstrap procps
	@build-aux/fresh.sh $* check-deb-here

# What takes too long for every change (.ci/run).
LONG_CHECKS = 'asan' 'tsan' 'memcheck' 'chaos' 'random ASAN=1' 'crowd' 'reloads' 'storm' 'fuzz' \
              'model' 'pitfalls' 'check-trixie' 'check-bookworm' 'check-deb-trixie' \
              'check-deb-bookworm' 'images' 'bench' 'bench-openresty'

check-all: ## run every check that .ci/run leaves out (two hours, root)
	@.ci/run $(LONG_CHECKS)

.PHONY: check-all check-bookworm check-deb check-deb-bookworm check-deb-trixie check-trixie images \
        lint lint-run model mutants pitfalls
