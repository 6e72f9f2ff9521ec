# The two commands of the README: `make run` and `make test`. Both make the environment first,
# from the lock, and need Python 3.11 or later with pip, and nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?= ./data

.PHONY: run test lint types imports unit install lock docs clean

run: install
	$(BIN)/desirepath demo --data $(DATA)

test: lint types imports unit

install: $(VENV)/.installed

# The stamp depends on the lock and the packaging, so the environment follows them.
# hatchling is in the lock, hence --no-build-isolation: nothing unpinned is ever fetched.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Desirepath needs Python 3.11 or later; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

unit: install
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Rewrites the lock; needs uv (pip install uv).
lock:
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --quiet \
	  --custom-compile-command "make lock" --output-file requirements.lock

clean:
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache

# Writes docs/commands.md from the commands' own help.
docs: install
	$(BIN)/python docs/build.py
