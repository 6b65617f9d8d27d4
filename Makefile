# `make` lists the commands. Those that need Python set up .venv themselves, and again whenever
# pyproject.toml, setup.py or constraints.txt has changed.
PYTHON ?= python3
PORT ?= 5000
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo cv canary sweep hpo ui docs lint types test check thorough bench clean
.DELETE_ON_ERROR:

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "make cv ARGS='model=resnet10 folds=[0]' passes settings on; PYTHON=python3.12 make setup"
	@echo "picks the Python of .venv; PORT=5001 make ui another port."

setup: $(INSTALLED) ## make .venv with everything in it (1 to 5 minutes, once)

$(INSTALLED): pyproject.toml setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
		echo "error: $(PYTHON) was not found. Name a Python >= 3.11: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: Python >= 3.11 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
ifdef HASHES
	$(PIP) -c constraints.txt torch
	$(PIP) --require-hashes --no-deps -r $(HASHES)
	$(PIP) --no-deps --no-build-isolation -e .
else
	$(PIP) -c constraints.txt -e '.[dev]'
endif
	@touch $@

demo: $(INSTALLED) ## make the demo's images (demo/, 2 MB)
	$(BIN)/patientfold demo

cv: demo ## cross-validate the demo: 5 folds, then metrics, plots and MLflow runs
	$(BIN)/patientfold cv experiment=demo $(ARGS)

canary: $(INSTALLED) ## random labels through the whole pipeline: would a leak show? (about 40 s)
	$(BIN)/patientfold canary $(ARGS)

sweep: demo ## compare 2 networks at 2 learning rates, a short cross-validation each
	$(BIN)/patientfold cv -m experiment=demo model=lenet5,resnet10 \
		optimizer.lr=1e-3,3e-4 training.epochs=4 $(ARGS)

hpo: demo ## search a learning rate and a batch size with Optuna, hopeless ones end early (a minute)
	$(BIN)/patientfold cv -m experiment=demo name=hpo model=lenet5 training.epochs=3 \
		hydra/sweeper=optuna hydra.sweeper.n_trials=6 hydra.sweeper.sampler.seed=0 \
		'optimizer.lr=tag(log,interval(3e-4,3e-2))' 'training.batch_size=choice(16,32)' \
		engine.prune_after=2 $(ARGS)
	$(BIN)/patientfold select sweep=runs/hpo

ui: $(INSTALLED) ## show the runs in MLflow, http://127.0.0.1:5000
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db \
		--host 127.0.0.1 --port $(PORT)

docs: $(INSTALLED) ## build the site of docs/ into build/site, warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(INSTALLED) ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## mypy --strict
	$(BIN)/mypy

test: $(INSTALLED) ## the tests, in two processes, without the slow ones
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" $(ARGS)

check: lint types thorough ## what must pass before a commit: lint, types, all tests with more random cases

thorough: $(INSTALLED)
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

bench: $(INSTALLED) ## measure plans, the search for copies, and the time of a cross-validation (30 minutes)
	$(BIN)/python benchmarks/plan_quality.py
	$(BIN)/python benchmarks/duplicates.py
	$(BIN)/python benchmarks/cross_validation.py
	$(BIN)/python benchmarks/fold_shares.py

clean: ## remove caches and the demo images; runs/, mlflow.db and .venv stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .cache build dist demo
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
