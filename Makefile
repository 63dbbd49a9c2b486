# install, run, test, lint, ui: the whole vocabulary. Hooks and CI call these too.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Stages and dvc find `python` on PATH: the project's own comes first. No telemetry.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1

PYTHON := $(firstword $(foreach name,python3.11 python3.12 python3.13 python3 python,$(shell \
	$(name) -c 'import sys; print("$(name)" if (3, 11) <= sys.version_info < (3, 14) else "")' 2>/dev/null)))

.PHONY: install run test lint ui
.DEFAULT_GOAL := run

install: $(STAMP)

$(STAMP): uv.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 on PATH; install one and run make again" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	UV_PYTHON_DOWNLOADS=never $(BIN)/uv sync --locked --quiet --extra dev --python $(BIN)/python
	@touch $@

run: install
	@test -d data || dvc pull --quiet data.dvc
	dvc repro
	@nsfw summary

# All tests, slow ones too; a plain `pytest` runs the fast ones.
test: install
	pytest -m "" --cov --cov-report=term $(ARGS)

lint: install
	ruff check .
	ruff format --check .
	mypy

ui: install
	@nsfw ui
