# `make demo` and `make test` need Python >= 3.10 and nothing else: each makes the virtual environment it needs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

.PHONY: demo test lint format bench clean

demo: $(VENV)/installed
	$(RUN)/raystellar demo

test: $(VENV)/installed
	$(RUN)/pytest

lint: $(VENV)/installed
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

format: $(VENV)/installed
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

bench: $(VENV)/installed
	$(RUN)/raystellar bench kernels

clean:
	rm -rf $(VENV) demo

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("raystellar needs Python >= 3.10" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --editable '.[dev]'
	touch $@
