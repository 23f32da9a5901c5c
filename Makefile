# Everything a developer or a CI job does. `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
RUST_SOURCES := $(shell find rust -name '*.rs' 2>/dev/null) Cargo.toml Cargo.lock rust/core/Cargo.toml rust/python/Cargo.toml

.DEFAULT_GOAL := help
.PHONY: help demo test build format lint typecheck test-rust test-parallel test-free-threaded cover miri docs bench check-wheel all clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: build ## Replay a year of flights through the agents (DEMO_FLAGS="--flights 20000")
	$(BIN)/overdrive demo $(DEMO_FLAGS)

test: build test-rust ## Run all tests (PYTEST_FLAGS="-k registry")
	$(BIN)/pytest $(PYTEST_FLAGS)

build: $(STAMPS)/extras ## Set up the environment and build the native module

$(STAMPS)/environment: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "overdrive needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	@command -v cargo >/dev/null \
		|| { echo "overdrive needs a Rust toolchain (cargo) on the PATH"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
		|| { echo "overdrive needs Python's venv module (Debian: apt install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --group dev
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/native: $(STAMPS)/environment $(RUST_SOURCES)
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --quiet
	@touch $@

# The package is there already, so this adds what its extras need.
$(STAMPS)/extras: $(STAMPS)/native pyproject.toml
	$(BIN)/python -m pip install --quiet "overdrive[all]"
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

test-rust: ## Run the tests of the core crate
	cargo test --package overdrive-core
