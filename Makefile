# `make demo` and `make test` need Python 3.10 to 3.13 and make, and set up everything else in .venv.
#   make demo PYTHON=python3.12     another interpreter
#   PIP_EXTRA_INDEX_URL=… make …    pip's own variables are honoured (a CPU-only torch, a mirror)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check fuzz lint types clean

help:
	@echo "make demo    set up .venv and run \`streamwatch demo\`"
	@echo "make test    set up .venv; lint, types, all tests"
	@echo "make check   the fast loop: lint, types, the tests that take no cluster and little time"
	@echo "make fuzz    hostile input for every reader, FUZZ_SECONDS=60 each"
	@echo "make clean   remove .venv and what the tools left behind"

demo: $(VENV)/.installed
	@$(BIN)/streamwatch demo

# Two runs: what other tests do not disturb in parallel, then the rest, one after the other, from their files alone: to
# collect all tests takes ten seconds. Tests that wait (for Ray to start, for a stream to come) leave the cores to others:
# see `pytest_xdist_auto_num_workers` in tests/conftest.py. Compiled modules are kept even where the environment says not to:
# the tests start some hundred processes, and pytest rewrites every assertion.
test check: export PYTHONDONTWRITEBYTECODE :=
test: lint types
	$(BIN)/python -m pytest -m "not alone" -n auto --dist worksteal
	$(BIN)/python -m pytest -m alone -n 2 $$(grep -rlw --include='test_*.py' 'mark\.alone' tests)

check: lint types
	$(BIN)/python -m pytest -q -m "not slow and not ray and not alone" -n auto --dist worksteal

FUZZ_SECONDS ?= 60
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m fuzz --fuzz-seconds $(FUZZ_SECONDS) tests/fuzz

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist streamwatch-demo

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || \
	    { echo "$(PYTHON) not found: install Python 3.10 to 3.13, or name one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	    { echo "streamwatch needs Python 3.10 to 3.13, $(PYTHON) is `$(PYTHON) --version 2>&1`: name another: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(VENV)/.installed $@
