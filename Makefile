# Everything a developer or a CI job does. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
RUST_SOURCES := $(shell find rust -name '*.rs' -not -path '*/fuzz/*' 2>/dev/null) Cargo.toml Cargo.lock .cargo/config.toml $(wildcard rust/*/Cargo.toml)

# Tests that may run on several threads at once; the others share a fixture or a directory.
PARALLEL_TESTS ?= tests/test_executor.py tests/test_registry.py
FUZZ_TARGET ?= lru
FUZZ_FLAGS ?= -max_total_time=60
MISSING = { echo "$@ needs $(1)"; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help demo test build format lint typecheck test-rust test-parallel test-free-threaded cover \
	miri fuzz docs bench page figures check-wheel check-version all clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## Replay a year of flights through the agents (DEMO_FLAGS="--flights 20000")
	$(BIN)/overdrive demo $(DEMO_FLAGS)

test: build test-rust ## Run all tests (PYTEST_FLAGS="-k registry")
	$(BIN)/pytest $(PYTEST_FLAGS)

build: $(STAMPS)/native $(STAMPS)/extras ## Set up the environment and build the native module

$(STAMPS)/environment: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "overdrive needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	@command -v cargo >/dev/null \
		|| { echo "overdrive needs a Rust toolchain (cargo) on the PATH"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		|| { echo "overdrive needs Python's venv module (Debian: apt install python3-venv)"; exit 1; }
	$(PIP) install --upgrade "pip>=25.1"
	$(PIP) install --group dev
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/native: $(STAMPS)/environment $(RUST_SOURCES)
	PIP_QUIET=1 VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --quiet
	@touch $@

# The package is there already, so this adds what its extras need.
$(STAMPS)/extras: pyproject.toml | $(STAMPS)/native
	$(PIP) install "overdrive[all]"
	@touch $@

# Tools that only one target needs are installed when it is first made.
$(STAMPS)/group-%: $(STAMPS)/environment
	$(PIP) install --group $*
	@touch $@

format: build ## Format all code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix-only --quiet
	cargo fmt --all

lint: build ## Check style and suspicious code
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	cargo fmt --all --check
	PYO3_PYTHON=$(abspath $(BIN)/python) cargo clippy --workspace --all-targets -- -D warnings

typecheck: build ## Check types, and the stub against the native module
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest overdrive._core

test-rust: ## Run the tests of the core crate, and the models of its threads
	cargo test --package overdrive-core
	cargo test --package overdrive-core --features shuttle --lib model
	cargo test --package overdrive-core --features shuttle --test models

test-parallel: build $(STAMPS)/group-parallel ## Run the thread-safe tests on four threads each
	$(BIN)/pytest --parallel-threads=4 $(PYTEST_FLAGS) $(PARALLEL_TESTS)

test-free-threaded: ## Build and test without the GIL (FREE_THREADED_PYTHON=/path/to/python3.13t)
	@test -x "$(FREE_THREADED_PYTHON)" || $(call MISSING,FREE_THREADED_PYTHON=/path/to/python3.13t)
	PARALLEL_TESTS="$(PARALLEL_TESTS)" bash .ci/test-free-threaded "$(FREE_THREADED_PYTHON)" $(PYTEST_FLAGS)

cover: build $(STAMPS)/group-cover ## Measure what the tests reach, in Python and in the core crate
	$(BIN)/pytest --cov=overdrive --cov-branch --cov-report=term-missing:skip-covered $(PYTEST_FLAGS)
	@if cargo llvm-cov --version >/dev/null 2>&1; then cargo llvm-cov --package overdrive-core; \
		else echo "cover left the core crate out; it needs: cargo install cargo-llvm-cov"; fi

miri: ## Look for undefined behaviour in the core crate
	@cargo +nightly miri --version >/dev/null 2>&1 \
		|| $(call MISSING,Miri: rustup toolchain install nightly --component miri)
	MIRIFLAGS=-Zmiri-ignore-leaks PROPTEST_CASES=4 cargo +nightly miri test --package overdrive-core

fuzz: ## Look for inputs that break the core crate (FUZZ_TARGET=registry FUZZ_FLAGS="-runs=10000")
	@cargo +nightly fuzz --version >/dev/null 2>&1 \
		|| $(call MISSING,cargo-fuzz: rustup toolchain install nightly; cargo install cargo-fuzz)
	cd rust/core && cargo +nightly fuzz run $(FUZZ_TARGET) -- $(FUZZ_FLAGS)

docs: $(STAMPS)/environment $(STAMPS)/group-docs ## Build the documentation into site/
	$(BIN)/zensical build --strict --clean

bench: $(STAMPS)/environment $(STAMPS)/group-bench ## Measure the current commit (BENCH_FLAGS="--bench registry")
	@git diff --quiet HEAD || echo "bench: changes that are not committed are not measured"
	$(BIN)/asv machine --config asv_benchmarks/asv.conf.json --yes >/dev/null
	$(BIN)/asv run --config asv_benchmarks/asv.conf.json --show-stderr $(BENCH_FLAGS) HEAD^!

page: build $(STAMPS)/group-peers ## Measure everything and write it into docs/benchmarks.md
	$(BIN)/overdrive bench --page docs/benchmarks.md $(BENCH_FLAGS)

figures: build $(STAMPS)/group-peers ## Print the tables of the documentation (PARTS="caches")
	cd asv_benchmarks && $(abspath $(BIN))/python -m figures $(PARTS)

check-wheel: $(STAMPS)/environment ## Test a wheel from the sdist away from the checkout (WHEEL=file)
	WHEEL="$(WHEEL)" PYTEST_FLAGS="$(PYTEST_FLAGS)" bash .ci/check-wheel $(BIN)/python

check-version: ## Check that TAG=v1.2.3 is the version of the workspace
	@version=$$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml); \
		test "$(TAG)" = "v$$version" || { echo "TAG=$(TAG) is not version $$version"; exit 1; }

all: lint typecheck test docs ## Run what has to pass before a change is merged

clean: ## Remove everything that was built
	rm -rf $(VENV) target rust/core/fuzz/target site dist asv_benchmarks/.asv
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f python/overdrive/_core*.so python/overdrive/_core*.pyd
