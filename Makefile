# embexp: every target installs what it needs into .venv first, and only when it is stale.
#
#   make sweep                                                the main job: three trainings, scored and compared
#   make train ARGS="loss=cosine data=mnli evaluation=stsb"   one run of your own

# `command -v` of several names is bash's alone.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install sweep train ui compare sync test test-slow test-gpu test-services bench bench-gpu lint format smoke clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

install: $(INSTALLED) ## install embexp and its pinned dependencies into .venv

# The stamp is written last, so its existence means that the installation went through.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing into $(VENV): this takes some minutes, and is done again where pyproject.toml or constraints.txt change"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,slurm,optuna]'
	@touch $@

sweep: $(INSTALLED) ## train MiniLM with MNR at three batch sizes, score and compare the runs
	$(BIN)/python -m embexp loss=mnr batch_size=32,64,128 $(ARGS) -m

train: $(INSTALLED) ## one run; choose with ARGS="loss=cosine batch_size=64"
	$(BIN)/python -m embexp $(ARGS)

ui: $(INSTALLED) ## open the MLflow UI over mlflow.db of this folder
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui $(ARGS)

compare: $(INSTALLED) ## the ranked table of all finished runs; ARGS="sweep=last --csv runs.csv"
	$(BIN)/python -m embexp.compare $(ARGS)

sync: $(INSTALLED) ## send to MLflow what its server missed while it was away; ARGS="FOLDER", "--uri URI" or "--anew"
	$(BIN)/python -m embexp.tracking sync $(ARGS)

test: $(INSTALLED) ## the tests that need no network and take minutes
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(INSTALLED) ## the tests that train for longer
	$(BIN)/python -m pytest -m slow --timeout 1800 $(ARGS)

test-gpu: $(INSTALLED) ## the tests that want a GPU: embexp's own ways there against the plain one
	$(BIN)/python -m pytest -m gpu -n 0 -rs $(ARGS)

test-services: $(INSTALLED) ## the tests against a PostgreSQL that they start (Debian: apt-get install postgresql)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,slurm,optuna,services]'
	$(BIN)/python -m pytest -m services -n 0 -rs --timeout 600 $(ARGS)

bench: $(INSTALLED) ## embexp against plain scripts, into benchmarks/results; ARGS="--only step"
	$(BIN)/python -m benchmarks.bench --device cpu $(ARGS)

bench-gpu: $(INSTALLED) ## the same on a GPU: plain scripts in fp16, embexp as it decides
	$(BIN)/python -m benchmarks.bench --device gpu $(ARGS)

lint: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy embexp hydra_plugins benchmarks

format: $(INSTALLED) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

smoke: $(INSTALLED) ## the whole way in a minute: a tiny random model, three losses, a few steps
	$(BIN)/python -m embexp model=tiny loss=mnr,cosine,tsdae max_steps=3 tracker=none $(ARGS) -m

clean: ## remove what was built and cached; runs, mlflow.db and .venv stay
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache
	find embexp hydra_plugins tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
