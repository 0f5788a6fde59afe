# make demo   generate data with half of its labels missing, train on it, evaluate, find lesions in a CT
# make test   everything that must hold: format, lint, types, unit tests, end-to-end tests
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint unit slow format env clean

demo: $(STAMP)
	$(BIN)/lesion-app demo $(DEMO)

test: lint unit slow

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/pytest -m "not slow" --durations=10

slow: $(STAMP)
	$(BIN)/pytest -m slow --durations=10

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))" \
		|| { echo "Python 3.10 to 3.13 is needed, found $$($(PYTHON) --version); name another one: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) .pytest_cache .ruff_cache .mypy_cache
