# make demo [INPUT=file.nwb ALIGN=column ARGS="--rank 3"]   the whole walk, on a simulated session or on your file
# make test [ARGS="-k alignment"]                            all tests
# make docs                                                  the documentation, into site/; warnings are errors
# make lint                                                  ruff and pyright
# make clean                                                 remove what these made
# Each makes .venv and installs everything first; the second time that takes no time.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
EXTENSION := extensions/ndx-latent-dynamics
export PYTHON
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.PHONY: demo test docs lint clean install
.DEFAULT_GOAL := test

demo: $(STAMP)
	$(BIN)/nwb-rnn demo $(if $(INPUT),"$(INPUT)") $(if $(ALIGN),--align "$(ALIGN)") $(ARGS)

test: $(STAMP)
	$(ONE_THREAD) $(BIN)/pytest -n 2 $(ARGS)

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt $(EXTENSION)/pyproject.toml
	@python=""; \
	for candidate in "$$PYTHON" python3.11 python3.12 python3.13 python3; do \
	  test -n "$$candidate" || continue; \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python="$$candidate"; break; \
	  fi; \
	done; \
	if test -z "$$python"; then \
	  echo "nwb_rnn needs Python 3.11 or newer, and none was found. Install it, or name it: make PYTHON=/path/to/python3.11"; \
	  exit 1; \
	fi; \
	if ! test -x $(BIN)/pip; then \
	  "$$python" -m venv $(VENV) || { echo "python -m venv failed; on Debian and Ubuntu install the package python3-venv"; exit 1; }; \
	fi
	@echo "installing into $(VENV) (once, some minutes)"
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e $(EXTENSION) -e '.[develop]'
	@touch $(STAMP)

clean:
	rm -rf $(VENV) demo_output site build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
