# `make repro` and `make test` are all that is needed; the rest is listed by `make help`.
PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3),python3)
VENV := .venv
AUTOML := .venv-automl
COVERED_BY := tests/test_events*.py tests/test_receiver*.py tests/test_schema_v1.py tests/test_silver.py tests/test_gold*.py \
	tests/test_combatlog*.py tests/test_pseudonyms.py tests/test_tables.py tests/test_ingest.py
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Pip's own chatter only when something is wrong.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --requirement

.DEFAULT_GOAL := help
.PHONY: help setup repro test test-full coverage mutants bench lab store-up store-down document lint clean clean-env lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/ready $(AUTOML)/ready $(VENV)/share/jupyter/kernels/automl/kernel.json .dvc/plots-page.html ## both environments and the offline plots page

repro: setup ## everything from the raids to the finished paper, then what was made
	@dvc repro
	@python -m pipeline summary

test: setup ## the test suite, on a four-raid parameter file
	@python -m pytest -n 2 --dist loadfile -m "not full"

test-full: setup ## what needs the default size: two folders, the same bytes
	@python -m pytest -m full

coverage: setup ## branches of events, silver, gold and combatlog that the tests take
	@python -m pytest -n 2 --dist loadfile -q -m "not full and not browser" $(COVERED_BY) --cov-branch --cov-report=term-missing:skip-covered \
		--cov=pipeline.events --cov=pipeline.silver --cov=pipeline.gold --cov=pipeline.combatlog

mutants: setup ## mutation testing of the same; hours
	@mutmut run --max-children 2 $(ONLY); mutmut results

bench: setup ## how fast each room is, beside its floor; rewrites the README's table
	@python -m benchmarks $(ONLY)

lab: setup ## JupyterLab with both kernels
	@jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

store-up: setup ## start the embedded object store
	@python -m pipeline store up

store-down: setup ## stop it; its data stay
	@python -m pipeline store down

document: setup ## write the data dictionary and the JSON Schema anew
	@python -m pipeline document

lint: setup ## ruff and mypy
	@ruff check . && ruff format --check . && mypy

clean: ## remove what dvc repro made (never .store/, data/raw/ or the environments)
	rm -rf data/simulated data/imported data/bronze data/silver data/gold data/features data/replay data/published.json reports/notebooks reports/figures reports/rejected \
		reports/report.* models/outcome models/playstyle \
		.pytest_cache mutants .coverage .mypy_cache .ruff_cache .hypothesis "$${XDG_CACHE_HOME:-$$HOME/.cache}/wow-raid-telemetry"
	find data pipeline tests reports models benchmarks -name __pycache__ -prune -exec rm -rf {} + -o -name '.*.partial' -prune -exec rm -rf {} +

clean-env: ## remove both environments
	rm -rf $(VENV) $(AUTOML)

lock: ## resolve the lock files anew from requirements/*.in
	@$(PYTHON) requirements/lock.py

$(VENV)/ready: requirements/main.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing: install Python 3.11 or run make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) pipeline/preflight.py
	@echo "setting up $(VENV) from $< (once, a few minutes)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python $(PIP_INSTALL) $<
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(AUTOML)/ready: requirements/automl.txt | $(VENV)/ready
	@echo "setting up $(AUTOML) from $< (once, a few minutes)"
	@$(PYTHON) -m venv --clear $(AUTOML)
	@$(AUTOML)/bin/python $(PIP_INSTALL) $<
	@echo "$(CURDIR)" > $$(echo $(AUTOML)/lib/python*/site-packages)/pipeline.pth
	@touch $@

# The kernel lives under the main environment's prefix, never --user, and so goes with it.
$(VENV)/share/jupyter/kernels/automl/kernel.json: $(VENV)/ready $(AUTOML)/ready
	@$(AUTOML)/bin/python -m ipykernel install --prefix $(VENV) --name automl --display-name "Python (automl: PyCaret)" 2>/dev/null
	@touch $@

.dvc/plots-page.html: $(VENV)/ready pipeline/plots_page.py
	@python -m pipeline plots-page
	@touch $@
