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
# For how long each part of a fuzzing run goes on.
SECONDS ?= 600
BUILD = target/lua
# The module for Lua 5.4 without optimization, with debug assertions, that can be made to panic.
CHECKED = target/check/metre_lua54.so
# The reference server, as the tests use it.
STATSD = target/statsd/node_modules/statsd/stats.js

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
# luarocks moves the files afterwards, and tells the command where they are.
COMMAND_PATH = $(if $(LUA),,$(LUADIR)/?.lua;)
INTERPRETER = $(if $(filter jit,$(VERSION)),luajit,lua$(VERSION))

# The modules are built one after the other, in one place.
.NOTPARALLEL:
.PHONY: all install uninstall rocks deb check test test-rest test-all lint supply bench demo soak stress help sanitize exits fuzz \
	lua-fuzz fuzz-targets rust-tests fuzz-tests model-tests lua-tests asan-tests install-tests package-tests prosody-tests debian13-tests \
	soak-tests clean

all: $(call MODULE,$(VERSION)) ## build the module for LUA_VERSION (5.1, 5.2, 5.3, 5.4 or jit; 5.4 unless given)

# Not left to cargo alone, so that `sudo make install` after `make` needs no cargo.
SOURCES = Cargo.toml Cargo.lock build.rs packaging/cargo-build $(shell find src -name '*.rs')

# luarocks shall not install packages.
SETUP = $(if $(LUA),:,.ci/setup)

define module_rule
$(call MODULE,$(1)): $(SOURCES)
	@$(SETUP) build
	packaging/cargo-build --release --locked --features $(call FEATURE,$(1))
	install -D -m 644 target/release/libmetre.so $$@
endef
$(foreach version,$(LUA_VERSIONS),$(eval $(call module_rule,$(version))))

install: check-path $(call MODULE,$(VERSION)) ## install under PREFIX (/usr/local unless given)
	install -d "$(DESTDIR)$(LUADIR)/metre/operator" "$(DESTDIR)$(LIBDIR)"
	install -m 644 lua/metre.lua "$(DESTDIR)$(LUADIR)/"
	install -m 644 lua/metre/*.lua "$(DESTDIR)$(LUADIR)/metre/"
	install -m 644 lua/metre/operator/*.lua "$(DESTDIR)$(LUADIR)/metre/operator/"
	install -m 644 $(call MODULE,$(VERSION)) "$(DESTDIR)$(LIBDIR)/"
	install -d "$(DESTDIR)$(BINDIR)"
	sed -e '1s|lua$$|$(INTERPRETER)|' -e 's|@LUADIR@/?.lua;|$(COMMAND_PATH)|' bin/metre | \
		install -m 755 /dev/stdin "$(DESTDIR)$(BINDIR)/metre"

# The path stands in a Lua string of the command, and in sed's.
.PHONY: check-path
check-path:
	@case "$(LUADIR)" in \
	*[!A-Za-z0-9_./+~\ @%,:-]* | [!/]*) \
		echo "metre: cannot be installed in $(LUADIR): PREFIX has to be an absolute path of letters, digits and _./+~@%,:-" >&2; exit 1 ;; \
	esac

# Not the directories that others use, too.
uninstall: check-path ## remove what was installed under PREFIX for LUA_VERSION
	for file in $(patsubst lua/%,%,$(wildcard lua/*.lua lua/metre/*.lua lua/metre/operator/*.lua)); do rm -f "$(DESTDIR)$(LUADIR)/$$file"; done
	rm -f "$(DESTDIR)$(LIBDIR)/$(notdir $(call MODULE,$(VERSION)))"
	@# There is one command for all Lua versions, of that which was installed last.
	if grep -qsF '"$(LUADIR)/?.lua;"' "$(DESTDIR)$(BINDIR)/metre"; then rm -f "$(DESTDIR)$(BINDIR)/metre"; fi
	for directory in "$(LUADIR)/metre/operator" "$(LUADIR)/metre" "$(LUADIR)" "$(LIBDIR)" "$(PREFIX)/share/lua" "$(PREFIX)/lib/lua"; do \
		[ ! -d "$(DESTDIR)$$directory" ] || rmdir --ignore-fail-on-non-empty "$(DESTDIR)$$directory"; \
	done

ROCKS = target/rocks
ROCK_VERSIONS = 5.1 5.2 5.3 5.4

rocks: $(foreach version,$(ROCK_VERSIONS),$(call MODULE,$(version))) ## build binary rocks in target/rocks, a directory for each Lua version
	@.ci/setup packages
	@$(PYTHON) packaging/rocks.py $(BUILD) $(ROCKS)

deb: $(call MODULE,5.4) ## build a package for Debian's Prosody in target/deb
	@.ci/setup packages
	@$(PYTHON) packaging/deb.py target/deb

# What there is time for before each push, and what takes longer or another Debian.
SUITES = lint rust-tests lua-tests install-tests prosody-tests
LONG_SUITES = supply model-tests fuzz-tests asan-tests exits package-tests debian13-tests soak-tests

check: $(CHECKED) ## the short loop: formatting, clippy, unit tests and the specs on Lua 5.4, without optimization and valgrind; half a minute
	@.ci/setup lint lua prosody
	$(CARGO) fmt --check
	luacheck --quiet bin/metre lua spec benches
	@printf '%s\n' '$(SPECS_CHECKED) --exclude-pattern=statsd_spec' '$(SPECS_CHECKED) --pattern=statsd_spec' \
		'$(CARGO) clippy --locked --features lua54 -- -D warnings && $(CARGO) test --locked --lib' | .ci/two

SPECS_CHECKED = METRE_VALGRIND= METRE_MODULES=$(CURDIR)/$(dir $(CHECKED)) spec/run 5.4

test: ## the first tier: everything on Lua 5.4 and this machine's Prosody, units and specs on all Luas; ten minutes
	@MAKE="$(MAKE)" .ci/suites $(SUITES)

test-rest: ## the second tier: Debian 13, packages in clean roots, models, fuzzing, exits, soak
	@MAKE="$(MAKE)" .ci/suites $(LONG_SUITES)

test-all: test test-rest ## both tiers, which is what CI runs

RUST_TESTS = --lib $(patsubst tests/%.rs,--test=%,$(wildcard tests/*.rs))

rust-tests: ## units and tests of the core, without Lua; a minute
	@.ci/setup build
	$(CARGO) test --locked --lib --tests --no-run
	@printf '$(CARGO) test --locked %s\n' $(RUST_TESTS) | .ci/two

model-tests: ## what threads can do in turn, in every order (loom); a minute
	@.ci/setup build
	$(CARGO) test --locked --features model --lib interleavings

sanitize: ## run the core under the thread sanitizer and Miri, where Rust has them; not part of `make test-all`
	@.ci/setup build
	spec/sanitize

# What takes longest first. Each module keeps one processor busy for most of the time that it takes to build, so the specs of those that are
# there run beside it.
lua-tests: $(CHECKED) ## the specs on all Luas, under valgrind and natively, and on the module with debug assertions; seven minutes
	@.ci/setup lua prosody
	@{ \
		echo '$(SPECS_CHECKED)'; \
		for lua in $(filter jit,$(LUA_VERSIONS)) $(filter-out jit,$(LUA_VERSIONS)); do \
			$(MAKE) --no-print-directory LUA_VERSION=$$lua >&2 || { echo 'echo no module for Lua '$$lua'; exit 1'; break; }; \
			echo "METRE_MODULES=$(CURDIR)/$(BUILD)/$$lua spec/run $$lua"; \
			echo "spec/luafuzz --versions $$lua --jobs 1 --seed 1 --seconds 4 --valgrind 4"; \
		done; \
	} | .ci/two

asan-tests: ## the module with the address sanitizer; a minute
	@.ci/setup build lua prosody
	spec/asan
	spec/luafuzz --seed 1 --seconds 0 --asan 3

lua-fuzz: $(foreach version,$(LUA_VERSIONS),$(call MODULE,$(version))) ## call everything with everything from all Luas, natively, under valgrind and with the address sanitizer, SECONDS each
	@.ci/setup build lua prosody
	spec/luafuzz --seconds $(SECONDS) --valgrind $(SECONDS) --asan $(SECONDS)

# How often each case is run; 200 before a release, which takes most of an hour.
RUNS ?= 1

exits: $(foreach version,$(LUA_VERSIONS),$(call MODULE,$(version))) ## end scripts and Prosody in every way, RUNS times (once unless given), and show a table
	@.ci/setup build lua prosody
	$(PYTHON) spec/exits/exits.py $(RUNS)
	METRE_MODULES=$(CURDIR)/$(BUILD)/5.4 $(PYTHON) spec/exits/prosody.py $(RUNS)

install-tests: $(call MODULE,5.1) $(call MODULE,5.4) ## make install, make uninstall and luarocks make; seconds
	@.ci/setup lua prosody rocks
	spec/install

package-tests: $(foreach version,$(LUA_VERSIONS),$(call MODULE,$(version))) rocks deb ## rocks and the Debian package in clean roots; a minute
	@.ci/setup packages debian prosody
	spec/packages/run

debian13-tests: rocks deb $(CHECKED) $(STATSD) ## spec/prosody with Debian 13's Prosody, and metre built by its own Rust; five minutes
	@.ci/setup packages debian prosody statsd
	spec/debian13/run

$(STATSD):
	@.ci/setup statsd
	npm install --prefix target/statsd --no-package-lock --no-audit --no-fund --omit=optional statsd@0.9.0
	@touch $@

$(CHECKED): $(SOURCES)
	@$(SETUP) build
	$(CARGO) build --locked --features lua54,panics
	install -D -m 644 target/debug/libmetre.so $@

prosody-tests: $(call MODULE,5.4) $(CHECKED) $(STATSD) ## a real Prosody with real clients, scrapers and statsd servers; a minute and a half
	@.ci/setup prosody statsd
	METRE_MODULES=$(CURDIR)/$(BUILD)/5.4 METRE_PANICS=$(CURDIR)/$(dir $(CHECKED)) $(PYTHON) spec/prosody/cases.py

MINUTES ?= 10
HOGS ?= 4
JOBS ?= 2

# A variable's value, if somebody has given one.
given = $(if $(filter file,$(origin $(1))),,$($(1)))

stress: $(foreach version,$(LUA_VERSIONS),$(call MODULE,$(version))) $(CHECKED) $(STATSD) ## run tests again and again beside HOGS=4 busy processes, for MINUTES=60 or RUNS of TESTS="rust/policy prosody/*", JOBS=2 at a time
	@.ci/setup build lua prosody statsd
	@TESTS="$(TESTS)" RUNS="$(call given,RUNS)" MINUTES="$(call given,MINUTES)" HOGS="$(HOGS)" JOBS="$(JOBS)" $(PYTHON) spec/stress/stress.py

soak: $(call MODULE,5.4) ## have faults hit a real Prosody under load for MINUTES (10 unless given), and compare all counts
	@.ci/setup prosody soak
	@METRE_MODULES=$(CURDIR)/$(BUILD)/5.4 MINUTES=$(MINUTES) $(PYTHON) spec/soak/soak.py

soak-tests: ## make soak for a minute
	@$(MAKE) --no-print-directory soak MINUTES=1

# What cargo-fuzz builds with: libFuzzer sees each branch and comparison. Without a sanitizer, which needs a nightly toolchain and has nothing
# to find in safe code: only the module for Lua has any other.
FUZZ_FLAGS = -Cpasses=sancov-module $(addprefix -Cllvm-args=-,sanitizer-coverage-level=4 sanitizer-coverage-inline-8bit-counters \
	sanitizer-coverage-pc-table sanitizer-coverage-trace-compares simplifycfg-branch-fold-threshold=0 sanitizer-coverage-stack-depth) \
	-Cdebug-assertions -Ccodegen-units=16
TARGETS = page statsd http config

# With the versions that fuzz/Cargo.lock has, which should be those of Cargo.lock.
fuzz-targets:
	@.ci/setup build fuzz
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --release --locked --manifest-path fuzz/Cargo.toml --bins \
		--target "$$(rustc -vV | sed -n 's/^host: //p')" --target-dir target/fuzz

fuzz-tests: fuzz-targets ## each fuzz target for some seconds; two minutes, mostly of building
	fuzz/run 8 $(TARGETS)

fuzz: fuzz-targets ## look for inputs that break the core, SECONDS=600 for each of TARGETS="page statsd http config"; then lua-fuzz
	fuzz/run $(SECONDS) $(TARGETS)
	@$(MAKE) --no-print-directory lua-fuzz

lint: ## formatting, mistakes in Rust and Lua, log lines and documents; a minute
	@.ci/setup build lint python
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --features lua54 --examples -- -D warnings
	$(CARGO) clippy --locked --features model --lib --profile test -- -D warnings
	$(CARGO) clippy --locked --features lua54,panics --lib -- -D warnings -D unused-crate-dependencies
	$(PYTHON) .ci/log-lines
	$(PYTHON) .ci/documents
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	luacheck --quiet bin/metre lua spec benches

# Tools of others, at fixed versions.
TOOLS = target/tools/bin

$(TOOLS)/cargo-deny:
	CARGO_PROFILE_DEV_DEBUG=false $(CARGO) install cargo-deny@0.20.2 --locked --quiet --debug --no-default-features --root target/tools

supply: $(TOOLS)/cargo-deny ## check licences, sources and versions of what metre is made of; a minute
	@.ci/setup build python
	$(CARGO) fetch --locked --quiet
	$(TOOLS)/cargo-deny --offline --locked check bans licenses sources
	$(PYTHON) .ci/msrv

# What metre's wall is measured against.
BINDING = target/bench/plain_binding.so

$(BINDING): $(SOURCES) benches/plain_binding.rs
	@$(SETUP) build
	packaging/cargo-build --release --locked --example plain_binding --features lua54
	install -D -m 644 target/release/examples/libplain_binding.so $@

bench: $(foreach version,$(LUA_VERSIONS),$(call MODULE,$(version))) $(BINDING) ## measure against Prosody's own providers and other natives; PARTS="calls render" for some
	@.ci/setup lua prosody
	METRE_MODULES=$(CURDIR)/$(BUILD)/5.4 $(PYTHON) benches/bench.py $(PARTS)

demo: $(call MODULE,5.4) ## run a real Prosody on metre with real clients; DEMO_SECONDS=20 ends it by itself
	@.ci/setup prosody
	@METRE_MODULES=$(CURDIR)/$(BUILD)/5.4 $(PYTHON) spec/prosody/demo.py

clean: ## remove what was built
	@# A Debian of its own in there belongs to root.
	if [ -e target/debian13 ]; then $(if $(filter 0,$(shell id -u)),,sudo )rm -rf --one-file-system target/debian13; fi
	$(CARGO) clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
