# make demo   generate data with half of its labels missing, train on it, evaluate, find lesions in a CT
# make test   everything that must hold: format, lint, types, unit tests, end-to-end tests
# make deploy-env   a second environment over the first, with the MONAI Deploy App SDK
# make label-env    another one, with MONAI Label
# make label-test   the tests that need MONAI Label
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
JOBS ?= 2
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEPLOY ?= .venv-deploy
DEPLOY_STAMP := $(DEPLOY)/.installed
LABEL ?= .venv-label
LABEL_STAMP := $(LABEL)/.installed

.PHONY: demo test lint unit slow format env deploy-env label-env label-test clean

demo: $(STAMP)
	$(BIN)/lesion-app demo $(DEMO)

test: lint unit slow

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/pytest -m "not slow and not label" --numprocesses=$(JOBS) --durations=10

slow: $(STAMP) $(DEPLOY_STAMP)
	$(BIN)/pytest -m "slow and not label" --durations=10

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

env: $(STAMP)

deploy-env: $(DEPLOY_STAMP)

label-env: $(LABEL_STAMP)

label-test: $(LABEL_STAMP)
	$(LABEL)/bin/python -m pytest -m label --durations=10 tests/labeling

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))" \
		|| { echo "Python 3.10 to 3.13 is needed, found $$($(PYTHON) --version); name another one: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# Layered over the first, so that torch is not installed twice; apart from it, since the SDK wants other versions.
$(DEPLOY_STAMP): $(STAMP) constraints-deploy.txt scripts/layered_environment.py
	$(BIN)/python scripts/layered_environment.py $(DEPLOY)
	$(DEPLOY)/bin/python -m pip install --quiet --no-deps --ignore-installed -r constraints-deploy.txt
	$(DEPLOY)/bin/python -m site > /dev/null
	touch $@

# As the one before; --no-deps because MONAI Label's own requirements cannot be met together.
$(LABEL_STAMP): $(STAMP) constraints-label.txt scripts/layered_environment.py
	$(BIN)/python scripts/layered_environment.py $(LABEL)
	$(LABEL)/bin/python -m pip install --quiet --no-deps --ignore-installed -r constraints-label.txt
	$(LABEL)/bin/python -m site > /dev/null
	touch $@

clean:
	rm -rf $(VENV) $(DEPLOY) $(LABEL) $(DEMO) .pytest_cache .ruff_cache .mypy_cache
