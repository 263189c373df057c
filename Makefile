# Everything goes through .venv, which is built on the first call and rebuilt when pyproject.toml or
# constraints.txt changes; after that a target starts at once. Needed beforehand: Python >= 3.11 and make.
#
#   make test ARGS="tests/optim -k adam"    a part of the tests
#   make run PYTHON=python3.12              another interpreter

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_BENCH := $(VENV)/.ready-bench
# -qq: errors are shown, warnings about package indexes are not.
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run test check lint types doctest bench data

help:
	@echo "make run     train the embedded recipe; writes a run directory with report.html"
	@echo "make test    the tests, examples included        (ARGS=... goes to pytest)"
	@echo "make check   lint and format, types, doctests    (each alone: make lint, types, doctest)"
	@echo "make bench   the benchmarks that need no accelerator; writes benchmarks/RESULTS.md"
	@echo "             (ARGS=\"import_time loop\" runs only these)"
	@echo "make data    obtain the data sets that tests marked 'real' and some recipes use"

run: $(READY)
	@$(BIN)/thalweg run

# Two workers with one thread each: on two cores, tests that each start two threads take longer.
test: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# `make -k check` goes on after a failure.
check: lint types doctest

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

doctest: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --doctest-modules --doctest-glob='*.md' src README.md CONTRIBUTING.md docs

bench: $(READY_BENCH)
	@$(BIN)/python benchmarks/run_all.py $(ARGS)

data: $(READY)
	@$(BIN)/thalweg data

# A .venv that cannot run pip (half built, or its interpreter is gone) is built anew. Where Python comes
# without ensurepip, as on Debian without python3-venv, the interpreter's own pip fills the environment.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: Python >= 3.11 is needed, $(PYTHON) is " \
	    + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 ...")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	    echo "Building $(VENV); the first time this takes some minutes."; \
	    $(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 || { \
	        $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install -qq pip; }; }
	@$(INSTALL) -e '.[dev,data,text,notebook,log]'
	@touch $@

$(READY_BENCH): $(READY)
	@echo "Installing the peers that the benchmarks run beside ours."
	@$(INSTALL) -e '.[bench]'
	@touch $@
