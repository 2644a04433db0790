# Everything is built into .venv and in place; no root rights, nothing outside this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find x86core vmm/guests -name '*.p[yx][xd]' -o -name '*.py' -path 'x86core/*' -o -name '*.S' -o -name '*.inc')

.PHONY: run test bench lint build clean help

help:
	@echo 'make run    build, then compare the ways of handling MWAIT (python -m bench lab)'
	@echo 'make test   build, then run the tests'
	@echo 'make bench  build, then the micro-benchmarks, side by side with Unicorn'
	@echo 'make lint   ruff, mypy and cython-lint'
	@echo 'make clean  remove everything that was built'

run: build
	$(BIN)/python -m bench lab

test: build
	$(BIN)/python -m pytest

bench: build
	$(BIN)/python -m pytest bench --benchmark-only
	$(BIN)/python -m bench core

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH=$(CURDIR)/$(BIN):$$PATH cython-lint x86core

build: $(VENV)/built

$(VENV)/built: setup.py pyproject.toml $(SOURCES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	    echo 'The venv module of Python is missing: install it (Debian: python3-venv).' >&2; exit 1; }
	@echo 'Building into $(VENV): about a minute.'
	$(BIN)/python -m pip install --quiet --config-settings editable_mode=compat --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find x86core vmm -name '*.so' -o -name '*_instances.pxi' -o -name '*.bin' | xargs rm -f
	find x86core -name '*.c' | xargs rm -f
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
