# Simpul. `make demo` and `make test` set everything up by themselves; all they need is python3 (3.11 or newer), python3-venv and make.
# What sets up or checks speaks on stderr, so that `make demo ARGS="--once --json"` has nothing but JSON on stdout.

PYTHON ?= python3
UV ?= uv
ARGS ?=
SEEDS ?= 200
KILLS ?= 200
RACES ?= 5000
NODES ?= 20
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# What Python has compiled it keeps, whatever the environment says: the tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# What `make check` runs of the tests: the rules, the keys, the stores and the style; what starts servers is for `make test`.
FAST := tests/protocol tests/keys tests/store tests/channels tests/test_tidy.py

.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help setup demo scene test sim kills races fuzz check lock bench bench-national bench-growth bench-lines clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with what requirements.lock pins, and install simpul into it

# The stamp is written last: an interrupted set-up is done again. flock: two makes at once do not share a half-made .venv.
$(READY): requirements.lock pyproject.toml
	@{ \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Simpul needs Python 3.11 or newer, and '$(PYTHON)' is not. Install it, or name another: make PYTHON=python3.12"; exit 1; }; \
	$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }; \
	echo "Setting up $(VENV) (first time, or something changed; about a minute) …"; \
	exec 9<requirements.lock; flock 9; \
	[ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV); \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	touch $@; \
	} >&2

demo: $(READY) ## hub and three cities on this machine, from complaint to audit; for example ARGS="--once --json"
	@$(BIN)/simpul demo $(ARGS)

scene: $(READY) ## a complaint's way from an SMS to the regency that is responsible, everything delivered twice; ARGS=--json
	@$(BIN)/python -m tests.scene $(ARGS)

# Four at a time on two cores: half of the tests wait for a process or a timer.
test: $(READY) ## all tests
	@$(BIN)/python -m pytest -n 4 --dist worksteal $(ARGS)

fuzz: $(READY) ## every reader of foreign bytes under fire, five minutes (ARGS="--minutes 60 --target note"); with atheris if installed
	@$(BIN)/python -m tests.fuzz $(ARGS)

check: $(READY) ## format, lint, types, layers and the fast tests: run it before every commit
	@$(BIN)/ruff format --check . >&2
	@$(BIN)/ruff check . >&2
	@$(BIN)/mypy >&2
	@$(BIN)/lint-imports >&2
	@$(BIN)/python -m pytest -n 2 -m "not slow" $(FAST) >&2

sim: $(READY) ## many simulated federations with everything that goes wrong: SEEDS=2000; one again: ARGS="--seed 7 --trace"
	@$(BIN)/python -m tests.sim --seeds $(SEEDS) $(ARGS)

kills: $(READY) ## kill -9 of real nodes and hubs, SQLite and PostgreSQL, under load: KILLS=20 (200: 15 minutes); ARGS="--json"
	@$(BIN)/python -m tests.edge.kills --kills $(KILLS) $(ARGS)

races: $(READY) ## offers accepted, declined, withdrawn, recalled at once by real nodes: RACES=500 NODES=20 (5000: 10 minutes); ARGS="--json"
	@$(BIN)/python -m tests.edge.transfer_races --races $(RACES) --nodes $(NODES) $(ARGS)

lock: ## pin all dependencies with hashes again (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv on the PATH, or: make lock UV=path/to/uv" >&2; exit 1; }
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra dev \
	  --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

bench: $(READY) ## the measured claims, beside PostgreSQL logical replication and NATS (20 minutes at most; for comparing: ARGS=--quick)
	@$(BIN)/python -m tests.bench $(ARGS)

bench-national: $(READY) ## a hub and 727 nodes: steady, storm, a year (an hour; shorter: ARGS="--nodes 100 --days 30"); --help says more
	@$(BIN)/python -m tests.bench.national $(ARGS)

bench-growth: $(READY) ## what changes while the log grows to 10,000,000 changes (shorter: ARGS="--until 1e6"); --help says more
	@$(BIN)/python -m tests.bench.growth $(ARGS)

bench-lines: $(READY) ## draining over slow, long and lossy lines, in network namespaces (root; a few minutes)
	@$(BIN)/python -m tests.bench.lines $(ARGS)

clean: ## remove .venv, caches and build output; no node's data
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
