# `make demo` and `make test` need Python >= 3.10 and nothing else: each makes the virtual environment it needs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin

WITH_RAY := tests/engine tests/stages

.PHONY: demo test test-ray test-rest lint format bench clean

demo: $(VENV)/installed
	$(RUN)/raystellar demo

# Tests with Ray wait most of the time, so the others run beside them.
test: $(VENV)/installed $(VENV)/s3/bin/moto_server
	$(MAKE) --jobs 2 test-ray test-rest

test-ray:
	$(RUN)/pytest $(WITH_RAY)

test-rest:
	$(RUN)/pytest tests $(WITH_RAY:%=--ignore %)

lint: $(VENV)/installed
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

format: $(VENV)/installed
	$(RUN)/ruff check --fix .
	$(RUN)/ruff format .

bench: demo
	$(RUN)/raystellar bench kernels demo/survey/spectra --model demo/model
	$(RUN)/raystellar bench ingest demo/survey/spectra

clean:
	rm -rf $(VENV) demo

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("raystellar needs Python >= 3.10" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --editable '.[dev]'
	touch $@

# An S3 server to test with. Its pins clash with those of s3fs, so it has an environment of its own; where it cannot
# be had, the tests that need it say so and are skipped.
$(VENV)/s3/bin/moto_server: | $(VENV)/installed
	-$(PYTHON) -m venv $(VENV)/s3 && $(VENV)/s3/bin/pip install --quiet 'moto[s3]>=5,<6' flask flask-cors
