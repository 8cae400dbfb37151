# Installing and packing

BINDIR  = $(PREFIX)/bin
LIBDIR  = $(PREFIX)/lib
INCDIR  = $(PREFIX)/include
# logrotate reads /etc only: below another prefix its file is one to copy.
SYSCONFDIR = $(if $(filter /usr,$(PREFIX)),/etc,$(PREFIX)/etc)

INSTALL = BUILD=$(BUILD) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) VERSION=$(VERSION) \
          BINDIR=$(BINDIR) LIBDIR=$(LIBDIR) INCDIR=$(INCDIR) \
          SYSCONFDIR=$(SYSCONFDIR) build-aux/install.sh

install: all ## install below PREFIX (/usr/local); DESTDIR goes before it
	@$(INSTALL) install

uninstall: ## remove what install put there
	@$(INSTALL) uninstall

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

deb: ## make the Debian packages in $(BUILD)/deb, for the release of Debian that this is
	@build-aux/deps.sh $(DEPS_BUILD) $(DEPS_LUAJIT) $(DEPS_DEB)
	@build-aux/deb.sh $(VERSION) $(BUILD)

# In a fresh system: make check-deb makes one of each release.
check-deb-here:
	@build-aux/deps.sh $(DEPS_DEB) lintian mmdebstrap git
	@build-aux/check-deb.sh $(BUILD)

.PHONY: check-deb-here deb dist install install-rock rock src-rock uninstall
