# `make` lists the targets. They install into the active virtual environment, or .venv, created if missing.

PYTHON ?= python3
# Installed only if torch is missing: an unpinned `torch` may install gigabytes of CUDA libraries.
TORCH ?= torch==2.13.0
DEMO_MINUTES ?= 8
STUDY ?= cpu
GPU_MINUTES ?= 8
GPU_OUT ?= gpu_results
# Tests at a time. Each takes a core, and about a gigabyte of memory.
JOBS ?= 2
VENV ?= $(or $(VIRTUAL_ENV),.venv)
BIN := $(VENV)/bin
# Tests that share a trained host form a group that runs in one process.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo study bench gpu test lint types unit suite hosts docs lists patches format clean
.DEFAULT_GOAL := help

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s%s\n", $$1, $$2}'
	@echo "  DEMO_MINUTES=2 make demo runs a shorter demo; KD_HOSTS=FOLDER make hosts tests real repositories;"
	@echo "  JOBS=8 make test uses eight cores."

demo: $(BIN)/.kd_demo ## train a teacher and three students on real photographs, and compare them
	$(BIN)/python examples/demo/demo.py --minutes $(DEMO_MINUTES)

study: $(BIN)/.kd_study ## compare recipes with seeds, for hours; STUDY=smoke is the shortest preset
	$(BIN)/python examples/study/study.py --preset $(STUDY)

bench: $(BIN)/.kd_dev ## benchmark the losses against other implementations
	$(BIN)/python benchmarks/bench.py

# Installs nothing, as the machine with the GPU may have no network.
gpu: ## GPU tests and benchmark, at most GPU_MINUTES a call, into GPU_OUT; PYTHON has torch, pytest and the dependencies
	@$(PYTHON) benchmarks/gpu.py --output $(GPU_OUT) --minutes $(GPU_MINUTES)

test: lint types suite ## all checks: lint, types, all tests

lint: $(BIN)/.kd_dev ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(BIN)/.kd_dev ## mypy
	$(BIN)/mypy

unit: $(BIN)/.kd_dev ## the tests that train no host, in less than a minute
	$(PYTEST) -m "not slow"

suite: $(BIN)/.kd_dev ## all tests
	$(PYTEST)

hosts: $(BIN)/.kd_dev ## the tests on real host repositories in the folder KD_HOSTS
	$(PYTEST) -m hosts

docs: $(BIN)/.kd_docs ## build the documentation site in site/; warnings are errors
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet -d build/docs docs site

lists: $(BIN)/.kd_dev ## generate the lists of terms and options in README.md and docs/
	$(BIN)/python docs/generate.py

patches: $(BIN)/.kd_dev ## generate patches/ from the example models
	$(BIN)/python examples/make_patches.py

format: $(BIN)/.kd_dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove build outputs, but not the environment
	rm -rf build dist site demo_output .mypy_cache .pytest_cache .ruff_cache *.egg-info

# An installed torch is used from the new environment.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "make: Python 3.10 or newer is needed: make ... PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || { echo "make: Python's venv module is needed (Debian: python3-venv)"; exit 1; }
	$(PYTHON) -m venv $$($(PYTHON) -c 'import torch' 2>/dev/null && echo --system-site-packages) $(VENV)

$(BIN)/.kd_torch: | $(BIN)/python
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) install "$(TORCH)"
	@touch $@

$(BIN)/.kd_demo: pyproject.toml setup.py | $(BIN)/.kd_torch
	$(PIP) install --quiet --editable '.[demo]'
	@touch $@

$(BIN)/.kd_study: pyproject.toml setup.py | $(BIN)/.kd_torch
	$(PIP) install --quiet --editable '.[study]'
	@touch $@

$(BIN)/.kd_docs: pyproject.toml setup.py | $(BIN)/.kd_torch
	$(PIP) install --quiet --editable '.[docs]'
	@touch $@

# visdom 0.2.4 needs pkg_resources to build, which setuptools dropped in 81; without build isolation it is built
# with the older one installed here.
$(BIN)/.kd_dev: pyproject.toml setup.py | $(BIN)/.kd_torch
	$(PIP) install --quiet 'setuptools>=77,<81' wheel
	$(PIP) install --quiet --no-build-isolation visdom==0.2.4
	$(PIP) install --quiet --editable '.[dev]'
	@touch $@
