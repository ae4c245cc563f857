# Two commands are the product: `make run` and `make test`. The rest is for those who change it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run install install-dev check lint types test clean

run: install
	$(BIN)/parlour serve --demo

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

# --require-hashes: every file that pip takes must be one of those that were pinned.
$(VENV)/.installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	touch $@

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install-dev
	$(BIN)/mypy

check: lint types
	$(BIN)/pytest -q -n 2 -m "not slow and not e2e"

test: install-dev
	scripts/install-test-needs
	$(MAKE) check
	$(BIN)/pytest -q -m "slow or e2e"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
