# Short ways to what CMake and the scripts do. `make help` lists them.
PREFIX ?= /usr/local
DESTDIR ?=
.PHONY: help all build demo test test-long fuzz bench lint install clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' Makefile

all: build
build: ## library, command and tests, in build/release
	@scripts/setup build
	@scripts/build release

demo: ## what memguard does, shown on this machine
	@scripts/setup build
	@scripts/build install
	@build/install/memguard demo

test: ## all tests and checks: release builds and sanitizers
	@scripts/setup test
	@scripts/test

test-long: ## the same and the tests that take hours
	@scripts/setup test
	@scripts/test long

fuzz: ## the protocol of the agent, for 10 minutes (FUZZ_SECONDS=...), with a corpus in build/corpus
	@scripts/setup test
	@scripts/build release
	@MEMGUARD_SOURCE="$(CURDIR)" MEMGUARD_BUILD="$(CURDIR)/build/release" \
		bash tests/command/test_fuzz_agent.sh . "$(or $(FUZZ_SECONDS),600)" "$(CURDIR)/build/corpus"

bench: ## how fast it is, next to others (BENCH_FLAGS=--quick)
	@scripts/setup bench
	@scripts/bench $(BENCH_FLAGS)

lint: ## clang-tidy over library and command
	@scripts/setup test
	@scripts/build release-clang
	@clang-tidy -p build/release-clang --quiet $$(find src tools -name '*.c' ! -name 'arch_*')

install: ## library, header and command to PREFIX, below DESTDIR
	@scripts/setup build
	@scripts/build install
	@DESTDIR="$(DESTDIR)" cmake --install build/install --prefix "$(PREFIX)" >build/install/install.log || \
		{ cat build/install/install.log; exit 1; }

clean: ## removes build/
	@rm -rf build
