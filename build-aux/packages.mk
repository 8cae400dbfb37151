# Debian packages
#
# docs/install.md says what each is for. a/b are the names that one has in two releases of Debian, 12
# and 13; the first that is there is installed (build-aux/deps.sh).
DEPS_BUILD  = gcc libc6-dev make pkg-config libuv1-dev uthash-dev lua-cjson lua-argparse lowdown
DEPS_LUAJIT = libluajit2-5.1-dev/libluajit-5.1-dev
DEPS_RUN   = libvips42/libvips42t64 libsvm3 lua-dbi-sqlite3
DEPS_DEMO  = lomiri-wallpapers-20.04
DEPS_TEST  = luajit2/luajit libcmocka-dev lua-busted lua-posix liblua5.1-0-dev liblua5.4-dev \
             lua5.1 lua5.4 nginx libnginx-mod-http-lua openssl luarocks python3 \
             python3-vega-datasets valgrind libmicrohttpd-dev groff-base procps git
DEPS_LINT  = clang-format-19 clang-tidy-19 cppcheck lua-check shellcheck g++ yamllint docker-compose
DEPS_FUZZ  = clang libclang-rt-dev
DEPS_MODEL = spin gcc libc6-dev
DEPS_BENCH = valgrind strace
DEPS_BENCH_OPENRESTY = nginx libnginx-mod-http-lua wrk php-fpm
DEPS_DEB   = build-essential debhelper fakeroot
DEPS_IMAGES = buildah mmdebstrap curl

.PHONY: deps
deps: ## install the missing Debian packages of build, demo and tests
	@build-aux/deps.sh $(DEPS_BUILD) $(if $(LUAJIT_PREFIX),,$(DEPS_LUAJIT)) $(DEPS_RUN) \
	    $(DEPS_DEMO) $(DEPS_TEST)
