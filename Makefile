# Two commands are the product: `make run` and `make test`. The rest is for those who change it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check
# Wheels only: a fresh machine has no compiler, and a missing wheel should be said, not built.
PIP_PINNED := $(PIP) install --quiet --require-hashes --only-binary=:all:

.DEFAULT_GOAL := help
.PHONY: help run install install-dev lint types fast check test slow e2e patient alone fuzz nightly prove clean

# What Python compiles is kept: the tests start it some hundred times.
unexport PYTHONDONTWRITEBYTECODE

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: install ## Start the demo: experts who stream, members with credits
	$(BIN)/parlour serve --demo

install: $(VENV)/.installed ## Make .venv with the pinned dependencies

install-dev: $(VENV)/.installed-dev ## The same, with the tools for tests and checks

# --require-hashes: every file that pip takes must be one of those that were pinned.
$(VENV)/.installed: requirements.txt pyproject.toml
	@scripts/ensure-python "$(PYTHON)"
	$(PYTHON) -m venv $(VENV)
	$(PIP_PINNED) -r requirements.txt
	$(PIP) install --quiet --no-index --no-deps --no-build-isolation -e .
	@touch $@

# The types of other people's packages, which are most of what mypy reads, are read once for a .venv.
$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(PIP_PINNED) -r requirements-dev.txt
	-@$(BIN)/mypy --no-error-summary >/dev/null 2>&1
	@touch $@

lint: install-dev ## ruff and the layer rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install-dev ## mypy, strict
	$(BIN)/mypy

fast: install-dev ## The fast tests
	$(BIN)/pytest -q -n 2 -m "not slow" --ignore tests/e2e

check: install-dev ## lint, types and the fast tests, beside each other
	@$(MAKE) --no-print-directory --jobs=3 lint types fast

test: install-dev ## Everything: installs what the tests need, then runs all of them
	scripts/install-test-needs
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory --keep-going slow e2e patient alone

# What computes comes first; browsers and packets would come late beside it. Two, since each of these
# stages uses both cores. One at a time is handed out, so that no worker sits on a queue while another
# has none.
slow:
	$(BIN)/pytest -q -n 2 --maxschedchunk=1 -m "slow and not e2e and not patient"

e2e:
	$(BIN)/pytest -q -n 2 --maxschedchunk=1 -m "e2e and not patient and not alone"

# The longest first.
patient:
	$(BIN)/pytest -q -n 4 --maxschedchunk=1 -m "patient" tests/e2e tests/billing_meter

alone:
	$(BIN)/pytest -q -m "alone"

fuzz: install-dev ## Every parser and the forward path, five minutes each
	$(BIN)/python -m tests.fuzz --seconds 300

# A kill takes about 5 s; `make test` does the same eight times. A million sessions take about three
# hours of one core; `make test` simulates ten thousand.
nightly: fuzz ## What takes too long for every change: fuzzing, kill -9 of the server 200 times, two million sessions
	PARLOUR_KILLS=200 $(BIN)/pytest -q -s tests/e2e/test_kill_nine_server.py
	PARLOUR_SIM_SESSIONS=2000000 $(BIN)/pytest -q -n 5 -k ten_thousand tests/billing_meter/test_simulation.py

prove: ## Run the Dockerfile's steps in a clean Debian root (needs root and debootstrap)
	scripts/prove-dockerfile

clean: ## Remove what these commands made
	rm -rf $(VENV) .ruff_cache .pytest_cache .hypothesis .import_linter_cache
