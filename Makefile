# Everything is built into .venv and in place; no root rights, nothing outside this folder.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find x86core bench vmm/guests -name '*.p[yx][xd]' -o -name '*.py' -path 'x86core/*' -o -name '*.S' -o -name '*.inc')

# Ours to set on the command line: make fuzz COUNT=1000, make differential SECONDS=60, make vectors VECTORS=folder,
# make test386 TEST386=folder.
COUNT := 10000000
SECONDS := 600
VECTORS := ../shared/vectors/80286-real-mode.tar.xz
# A checkout of github.com/barotto/test386.asm, or the environment variable of this name.
TEST386 ?= ../test386.asm
SANITIZED := build/sanitized

# Tests that run guests on threads have one of these to themselves (tests/conftest.py).
TEST_PROCESSES := 2

.PHONY: run test bench bench-accept answers lint build clean help docs differential vectors test386 flood fuzz fuzz-sanitized model stress

help:
	@echo 'make run    build, then the quick laboratory: a table, and a report in build/laboratory'
	@echo 'make test   build, then run the tests'
	@echo 'make bench  build, then the benchmarks, side by side with Unicorn and with the run accepted last'
	@echo 'make bench-accept  have the last run be what later ones are held against'
	@echo 'make answers  the figures of docs/answers.md anew, and their plots into build/answers'
	@echo 'make lint   ruff, mypy and cython-lint'
	@echo 'make docs   the documentation as a site, with the API and the instructions, into build/docs'
	@echo 'make clean  remove everything that was built'
	@echo
	@echo 'Longer suites:'
	@echo 'make differential    against Unicorn, SECONDS in each mode (600)'
	@echo 'make vectors         captures from silicon, a folder or archive VECTORS'
	@echo 'make test386         the public test of processors, its checkout in TEST386'
	@echo 'make fuzz            COUNT random programs (10 million)'
	@echo 'make model           the wake protocol, explored whole by SPIN'
	@echo 'make stress          handoffs between real threads, SECONDS long (600)'
	@echo 'make flood           guests that flood the VMM, SECONDS long (600)'
	@echo 'make fuzz-sanitized  the same under AddressSanitizer and UndefinedBehaviorSanitizer'

run: build
	$(BIN)/python -m bench quick -o build/laboratory

test: build
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadgroup -p no:benchmark

# All three, also when one of them is not content.
bench: build
	@failed=0; for part in core wake micro; do $(BIN)/python -m bench $$part || failed=1; done; exit $$failed

bench-accept: build
	$(BIN)/python -m bench micro --accept

# The figures of docs/answers.md in virtual time, and their plots.
answers: build
	$(BIN)/python -m bench sweep answers -o build/answers.jsonl
	$(BIN)/python -m bench figures build/answers.jsonl docs/answers.md
	$(BIN)/python -m bench report build/answers.jsonl -o build/answers

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH=$(CURDIR)/$(BIN):$$PATH cython-lint x86core

# The packages are those of the extra `docs`; to install the extra would build the core again.
docs: build
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' \
	    | $(BIN)/python -m pip install --quiet --requirement /dev/stdin
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo 'build/docs/index.html'

differential: build
	$(BIN)/python -m tests.differential --seconds $(SECONDS)

vectors: build
	$(BIN)/python -m tests.vectors $(VECTORS)

test386: build
	$(BIN)/python -m tests.test386 $(TEST386)

model: build
	$(BIN)/python -m tests.model

flood: build
	$(BIN)/python -m tests.flood --seconds $(SECONDS)

stress: build
	$(BIN)/python -m tests.stress --seconds $(SECONDS)

fuzz: build
	$(BIN)/python -m tests.fuzz --count $(COUNT)

# PYTHONSAFEPATH: the sanitized core is imported, and not the one in this folder.
fuzz-sanitized: build
	$(BIN)/python -m pip install --quiet 'setuptools>=77' 'Cython>=3.1,<4'
	X86CORE_SANITIZE=address,undefined $(BIN)/python setup.py --quiet build \
	    --build-base $(SANITIZED) --build-lib $(SANITIZED)/lib
	PYTHONSAFEPATH=1 PYTHONPATH=$(SANITIZED)/lib:. LD_PRELOAD=$$(gcc -print-file-name=libasan.so) \
	    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	    $(BIN)/python -m tests.fuzz.sanitized --count $(COUNT)

build: $(VENV)/built

$(VENV)/built: setup.py pyproject.toml $(SOURCES)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	    echo 'The venv module of Python is missing: install it (Debian: python3-venv).' >&2; exit 1; }
	@echo 'Building into $(VENV): about a minute.'
	$(BIN)/python -m pip install --quiet --config-settings editable_mode=compat --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find x86core vmm bench -name '*.so' -o -name '*_instances.pxi' -o -name '*.bin' | xargs rm -f
	find x86core bench -name '*.c' | xargs rm -f
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
