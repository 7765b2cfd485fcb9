# On a fresh machine: Python 3.11 and make. `make demo` and `make test` set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export ONLY

.PHONY: setup demo test lint bench encoder starter nightly

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.lock pyproject.toml
	bash infra/scripts/setup.sh $(PYTHON) $(VENV)
	touch $@

demo: setup
	$(BIN)/assay demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

test: setup lint
	bash infra/scripts/system.sh
	bash infra/scripts/tests.sh $(BIN)

nightly: setup
	bash infra/scripts/system.sh
	$(BIN)/python -m pytest --timeout=3600

# All of it takes under an hour; ONLY=R2,R6 runs those parts.
bench: setup
	bash infra/scripts/bench.sh $(VENV)
	$(BIN)/python -m infra.bench

encoder: setup
	bash infra/scripts/encoder.sh $(BIN)

# Builds the bundled release anew and calibrates it on composed pictures; its encoder stays. Some minutes.
starter: setup
	$(BIN)/python -m infra.scripts.starter
