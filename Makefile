# `make up` runs everything on this machine, `make test` checks everything. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: up test help install format check pytest contract fuzz sim mutants lock clean

up: $(VENV)/.run ## start broker, workers and a demonstration load (Ctrl-C drains and stops)
	$(BIN)/amply up --demo

test: install check pytest ## everything: format, lint, types, all tests

install: $(VENV)/.dev $(VENV)/.celery56 $(VENV)/.boto3-query $(VENV)/.node $(VENV)/.go ## the virtual environments with everything that tests need
	@scripts/need redis-server

check: ## format, lint and types; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Three files side by side: tests with real workers and commands mostly wait for them.
pytest: ## all tests
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile

contract: install ## those of what the transport asks of celery and kombu, 5.7 and 5.6
	$(BIN)/python -m pytest tests/contract

FUZZ_SECONDS ?= 60

fuzz: $(VENV)/.fuzz ## look for inputs that fail, FUZZ_SECONDS=60 for all targets together
	$(VENV)/fuzz/bin/python tests/fuzz/run.py $(FUZZ_SECONDS)

SEEDS ?= 100000
FIRST ?= 0
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

sim: $(VENV)/.dev ## random lives of the broker against the model, SEEDS=100000 from seed FIRST=0, on JOBS processes
	$(BIN)/python tests/sim/lives.py --first $(FIRST) --seeds $(SEEDS) --jobs $(JOBS)

mutants: $(VENV)/.dev ## bugs planted in the engine, which the simulation must find
	$(BIN)/python tests/sim/mutants.py

format: ## format the code in place
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(VENV)/.dev ## renew the lock files from pyproject.toml
	$(BIN)/uv pip compile --upgrade --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		pyproject.toml --group build --output-file locks/run.txt
	$(BIN)/uv pip compile --upgrade --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		pyproject.toml --group dev --output-file locks/dev.txt
	$(BIN)/uv pip compile --upgrade --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--group celery56 --output-file locks/celery56.txt
	$(BIN)/uv pip compile --upgrade --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--group boto3-query --output-file locks/boto3-query.txt
	$(BIN)/uv pip compile --upgrade --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--group fuzz --output-file locks/fuzz.txt

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "%-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Amply needs Python 3.11 or newer; this is " \
		+ sys.version.split()[0] + ". Say which one to use: make PYTHON=python3.12 up")'
	$(PYTHON) -m venv $(VENV)

# Everything comes from a lock file with hashes; the package itself is linked, built with what the lock brought.
$(VENV)/.run: locks/run.txt pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes --requirement locks/run.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: locks/dev.txt pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes --requirement locks/dev.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# The oldest Celery that the transport works with, beside the newest: tests/contract runs both.
$(VENV)/.celery56: locks/celery56.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m venv --without-pip $(VENV)/celery56
	$(PIP) --python $(VENV)/celery56/bin/python install --require-hashes --requirement locks/celery56.txt
	$(PIP) --python $(VENV)/celery56/bin/python install --no-deps --no-build-isolation --editable .
	@touch $@

# A boto3 from before SQS's switch to JSON: one of the clients in tests/clients.
$(VENV)/.boto3-query: locks/boto3-query.txt | $(BIN)/python
	$(BIN)/python -m venv --without-pip $(VENV)/boto3-query
	$(PIP) --python $(VENV)/boto3-query/bin/python install --require-hashes --requirement locks/boto3-query.txt
	@touch $@

# Clients in other languages. Where Node, Go or their registries are missing, those tests are skipped and say so.
$(VENV)/.node: tests/clients/js/package-lock.json | $(BIN)/python
	@cd tests/clients/js && npm ci --silent --no-audit --no-fund --prefer-offline --fetch-retries=1 \
		&& touch $(CURDIR)/$@ || echo "nothing from npm's registry: the JavaScript client will not be tested"

$(VENV)/.go: tests/clients/go/go.mod tests/clients/go/go.sum | $(BIN)/python
	@cd tests/clients/go && go mod download \
		&& touch $(CURDIR)/$@ || echo "no modules for Go: the Go client will not be tested"

# Made only by `make fuzz`: nothing else needs it.
$(VENV)/.fuzz: locks/fuzz.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m venv --without-pip $(VENV)/fuzz
	$(PIP) --python $(VENV)/fuzz/bin/python install --require-hashes --requirement locks/fuzz.txt
	$(PIP) --python $(VENV)/fuzz/bin/python install --no-deps --no-build-isolation --editable .
	@touch $@
