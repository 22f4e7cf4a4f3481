# The front door. `make help` lists what there is.

# luarocks says which Lua it builds for by its interpreter.
ifdef LUA
LUA_VERSION := $(shell $(LUA) -e 'io.write((_VERSION:match("%d+%.%d+")))')
endif
LUA_VERSION ?= 5.4
PREFIX ?= /usr/local
DESTDIR ?=
LUA_VERSIONS = 5.1 5.2 5.3 5.4 jit
PYTHON ?= /usr/bin/python3
CARGO ?= cargo
BUILD = target/lua

# LuaJIT reads 5.1's directories and takes 5.1's name for the module.
FEATURE = lua$(subst .,,$(1))
ABI = $(if $(filter jit,$(1)),5.1,$(1))
MODULE = $(BUILD)/$(1)/metre_lua$(subst .,,$(call ABI,$(1))).so
VERSION = $(patsubst luajit,jit,$(LUA_VERSION))

ifeq ($(filter $(VERSION),$(LUA_VERSIONS)),)
$(error LUA_VERSION=$(LUA_VERSION) is not supported; use one of $(LUA_VERSIONS))
endif

LUADIR ?= $(PREFIX)/share/lua/$(call ABI,$(VERSION))
LIBDIR ?= $(PREFIX)/lib/lua/$(call ABI,$(VERSION))
BINDIR ?= $(PREFIX)/bin
INTERPRETER = $(if $(filter jit,$(VERSION)),luajit,lua$(VERSION))

# The modules are built one after the other, in one place.
.NOTPARALLEL:
.PHONY: all install test lint bench demo help rust-tests lua-tests prosody-tests install-tests fuzz fuzz-tests fuzz-targets clean

all: $(call MODULE,$(VERSION)) ## build the module for LUA_VERSION (5.1, 5.2, 5.3, 5.4 or jit; 5.4 unless given)

# Not left to cargo alone, so that `sudo make install` after `make` needs no cargo.
SOURCES = Cargo.toml Cargo.lock build.rs $(shell find src -name '*.rs')

# luarocks shall not install packages.
SETUP = $(if $(LUA),:,.ci/setup)

define module_rule
$(call MODULE,$(1)): $(SOURCES)
	@$(SETUP) build
	$(CARGO) build --release --locked --features $(call FEATURE,$(1))
	install -D -m 644 target/release/libmetre.so $$@
endef
$(foreach version,$(LUA_VERSIONS),$(eval $(call module_rule,$(version))))

install: check-path $(call MODULE,$(VERSION)) ## install under PREFIX (/usr/local unless given)
	install -d "$(DESTDIR)$(LUADIR)/metre" "$(DESTDIR)$(LIBDIR)"
	install -m 644 lua/metre.lua "$(DESTDIR)$(LUADIR)/"
	install -m 644 lua/metre/*.lua "$(DESTDIR)$(LUADIR)/metre/"
	install -m 644 $(call MODULE,$(VERSION)) "$(DESTDIR)$(LIBDIR)/"
	install -d "$(DESTDIR)$(BINDIR)"
	sed -e '1s|lua$$|$(INTERPRETER)|' -e 's|@LUADIR@|$(LUADIR)|' bin/metre >$(BUILD)/metre
	install -m 755 $(BUILD)/metre "$(DESTDIR)$(BINDIR)/metre"

# The path stands in a Lua string of the command, and in sed's.
.PHONY: check-path
check-path:
	@case "$(LUADIR)" in \
	*[!A-Za-z0-9_./+~\ @%,:-]* | [!/]*) \
		echo "metre: cannot be installed in $(LUADIR): PREFIX has to be an absolute path of letters, digits and _./+~@%,:-" >&2; exit 1 ;; \
	esac

SUITES = lint rust-tests fuzz-tests lua-tests install-tests prosody-tests

test: $(SUITES) ## run everything that CI runs
	@echo "suites: $(words $(SUITES)) passed, 0 failed"

rust-tests:
	@.ci/setup build
	$(CARGO) test --locked --lib --tests

lua-tests: $(foreach version,$(LUA_VERSIONS),$(call MODULE,$(version)))
	@.ci/setup lua prosody
	@set -e; for version in $(LUA_VERSIONS); do \
		echo "== busted on Lua $$version"; \
		METRE_MODULES=$(CURDIR)/$(BUILD)/$$version spec/run $$version; \
	done
	spec/asan

install-tests: $(call MODULE,5.1) $(call MODULE,5.4)
	@.ci/setup lua prosody rocks
	spec/install

# The reference server, as the tests use it.
STATSD = target/statsd/node_modules/statsd/stats.js

$(STATSD):
	@.ci/setup statsd
	npm install --prefix target/statsd --no-package-lock --no-audit --no-fund --omit=optional statsd@0.9.0
	@touch $@

prosody-tests: $(call MODULE,5.4) $(STATSD)
	@.ci/setup prosody statsd
	METRE_MODULES=$(CURDIR)/$(BUILD)/5.4 $(PYTHON) -m unittest discover -v -s spec/prosody -p 'test_*.py'

# Without a sanitizer, which needs a nightly toolchain and has nothing to find in safe code: only the module for Lua has any other.
CARGO_FUZZ = target/tools/bin/cargo-fuzz
TARGETS = page statsd http config
SECONDS = 600

$(CARGO_FUZZ):
	@.ci/setup build
	$(CARGO) install cargo-fuzz --version 0.13.2 --locked --debug --root target/tools

fuzz-targets: $(CARGO_FUZZ)
	@.ci/setup build fuzz
	@# With the versions that fuzz/Cargo.lock has, which should be those of Cargo.lock.
	$(CARGO) metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml >/dev/null
	$(CARGO_FUZZ) build --sanitizer none --no-cfg-fuzzing --codegen-units 16 --target-dir target/fuzz

fuzz-tests: fuzz-targets
	fuzz/run 8 $(TARGETS)

fuzz: fuzz-targets ## look for inputs that break the core, 10 minutes each; SECONDS=60 TARGETS="page http" for less
	fuzz/run $(SECONDS) $(TARGETS)

lint: ## check formatting, and look for mistakes in Rust and Lua
	@.ci/setup build lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --features lua54 --lib --examples -- -D warnings
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	luacheck --quiet bin/metre lua spec benches

# What metre's wall is measured against.
BINDING = target/bench/plain_binding.so

$(BINDING): $(SOURCES) benches/plain_binding.rs
	@$(SETUP) build
	$(CARGO) build --release --locked --example plain_binding --features lua54
	install -D -m 644 target/release/examples/libplain_binding.so $@

bench: $(foreach version,$(LUA_VERSIONS),$(call MODULE,$(version))) $(BINDING) ## measure against Prosody's own providers and other natives; PARTS="calls render" for some
	@.ci/setup lua prosody
	METRE_MODULES=$(CURDIR)/$(BUILD)/5.4 $(PYTHON) benches/bench.py $(PARTS)

demo: $(call MODULE,5.4) ## run a real Prosody on metre with real clients; DEMO_SECONDS=20 ends it by itself
	@.ci/setup prosody
	@METRE_MODULES=$(CURDIR)/$(BUILD)/5.4 $(PYTHON) spec/prosody/demo.py

clean: ## remove what was built
	$(CARGO) clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
