# Everything in a fresh clone with nothing but python3 (3.11 or newer), pip and make.
#   make demo    install, then train, search, shrink and report on the embedded images
#   make test    install, then lint and run every test
PYTHON ?= python3
VENV   ?= .venv
# Extras for the tests; `EXTRAS=dev,report,data,dask,peers,oracles make test` adds the peers that values are checked against.
EXTRAS ?= dev,report,data
# How many processes share the tests, file by file; 0: all in one, which a debugger needs.
WORKERS ?= 2

BIN := $(VENV)/bin
comma := ,
TEST_STAMP := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

.PHONY: install demo test lint tests docs gates bench coverage clean

demo: $(VENV)/.installed-report
	$(BIN)/emoref demo $(ARGS)

test: lint tests

install: $(TEST_STAMP)

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

tests: $(TEST_STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

docs: $(TEST_STAMP)
	$(BIN)/python -m pytest docs $(ARGS)
	for figure in docs/figures/*.py; do $(BIN)/python $$figure || exit 1; done

gates: $(TEST_STAMP)
	$(BIN)/python -m pytest -m gates $(ARGS)

bench: $(TEST_STAMP)
	$(BIN)/python -m pytest bench/*.py --benchmark-only $(ARGS)

# Compiled functions leave no trace, so the kernels' tests run with the JIT off. emoref/ itself compiles nothing:
# with the JIT on, its tests do their real work in minutes instead of hours.
coverage: $(TEST_STAMP)
	$(BIN)/coverage erase
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest tests/emoref_kernels --cov --cov-report= $(ARGS)
	$(BIN)/python -m pytest tests/emoref tests/test_habits.py docs --cov --cov-append --cov-report= $(ARGS)
	$(BIN)/coverage report --include='kernels/*'
	$(BIN)/coverage report --include='emoref/*' --fail-under=95

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "emoref needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[$(subst -,$(comma),$*)]"
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
