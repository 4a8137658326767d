# Each verb installs what it needs into .venv; nothing but Python 3.11, make and pip is expected.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SIZE ?= 8000
HOSTS ?= langchain llama_index haystack mteb lance
HOST_VENVS := .venv-integrations
export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM ?= false

.PHONY: quickstart test test-long test-integrations check docs bench clean

quickstart: $(VENV)/.quickstart  ## distil an index from real data and show what was kept
	$(BIN)/limbeck quickstart --documents $(SIZE)

test: $(VENV)/.dev  ## the tests, at most 10 minutes on 2 cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered

test-long: $(VENV)/.dev  ## full kill loops, big fuzz runs, experiments
	$(BIN)/python -m pytest -m long --timeout=3600

test-integrations: $(HOSTS:%=$(HOST_VENVS)/%/.done) $(HOST_VENVS)/data/.done  ## retrievers and exports, each in an environment with its host
	for host in $(HOSTS); do $(HOST_VENVS)/$$host/bin/python -m pytest tests/integrations/test_$$host.py || exit 1; done
	if test -x $(HOST_VENVS)/lance/bin/python; then $(HOST_VENVS)/lance/bin/python -m pytest tests/jobs/test_exchange_lance.py; fi

check: $(VENV)/.dev  ## what a reviewer runs first
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/typos

docs: $(VENV)/.dev  ## write docs/systems.md from the recipes' docstrings, and run the examples in docs/
	$(BIN)/python -m limbeck.cli systems --markdown > docs/systems.md
	$(BIN)/python -m pytest -n 0 tests/docs

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/search_speed.py

clean:
	rm -rf $(VENV) $(HOST_VENVS) build dist src/*.egg-info .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.quickstart: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[quickstart]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[all]'
	@touch $@

$(HOST_VENVS)/%/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(HOST_VENVS)/$*
	$(HOST_VENVS)/$*/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[$(subst _,-,$*)$(ALSO)]' pytest pytest-timeout
	@touch $@

$(HOST_VENVS)/mteb/.done: ALSO = ,quickstart

$(HOST_VENVS)/data/.done: $(VENV)/.dev tests/integrations/make_index.py
	rm -rf $(HOST_VENVS)/data
	$(BIN)/python tests/integrations/make_index.py $(HOST_VENVS)/data
	@touch $@
