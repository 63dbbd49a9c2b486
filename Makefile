# install, run, test, lint, audit, ui: the whole vocabulary. Hooks and CI call these too.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Stages and dvc find `python` on PATH: the project's own comes first. No telemetry.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1
# Containers set it: each process would then compile TensorFlow anew, 8 s of CPU time.
unexport PYTHONDONTWRITEBYTECODE

PYTHON := $(firstword $(foreach name,python3.11 python3.12 python3.13 python3 python,$(shell \
	$(name) -c 'import sys; print("$(name)" if (3, 11) <= sys.version_info < (3, 14) else "")' 2>/dev/null)))

# Scripts in an environment name their Python by its full path: moved they are dead, copied they run the original's code.
MOVED := $(shell sed -n 's/^command = .* -m venv //p' $(VENV)/pyvenv.cfg 2>/dev/null | grep -vFx '$(CURDIR)/$(VENV)')

# Of pyproject.toml: `make install EXTRAS="s3 heif"`; they stay until others are named.
EXTRAS ?= $(shell cat $(VENV)/.extras 2>/dev/null)
EXTRAS := $(EXTRAS)
OTHERS := $(shell test "$(EXTRAS)" = "$$(cat $(VENV)/.extras 2>/dev/null)" || echo named)

# uv itself in uv.lock's version, as a requirement with its digests.
UV_LOCKED := sed -nE '/^name = "uv"$$/,/^$$/{s/^version = "(.*)"/uv==\1/p;s/.*hash = "(sha256:[0-9a-f]+)".*/--hash=\1/p}'

# Of what uv tells: the large downloads, the end of each step, and every warning and error; not each of 200 packages.
UV_NEWS := sed -u -E '/^( [-+~] | Downloaded | *Buil[dt]|Using |Resolved |Uninstalled |Downloading .*\(([0-9.]+KiB|[0-9]{1,2}\.[0-9]MiB)\))/d'

.PHONY: install run test lint audit ui $(if $(MOVED)$(OTHERS),$(STAMP))
.DEFAULT_GOAL := run

install: $(STAMP)

$(STAMP): uv.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 on PATH; install one and run make again" >&2; exit 1; }
	@test -z '$(MOVED)' || { echo '$(VENV) was made as $(MOVED): making it anew for this folder'; rm -rf $(VENV); }
	@echo "installing the $$(grep -c '^name = ' uv.lock) packages of uv.lock into $(VENV): seconds from a cache, else minutes"
	@$(PYTHON) -m venv $(VENV)
	@$(UV_LOCKED) uv.lock | tr '\n' ' ' > $(VENV)/uv.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@set -o pipefail; UV_PYTHON_DOWNLOADS=never $(BIN)/uv sync --locked $(addprefix --extra ,dev $(EXTRAS)) --python $(BIN)/python 2>&1 | $(UV_NEWS)
	@echo "$(EXTRAS)" > $(VENV)/.extras
	@touch $@

run: install
	@set -o pipefail; test -d data || { echo "fetching data/ (data.dvc)"; dvc pull --quiet data.dvc 2>&1 | sed '/no default remote/d'; }
	@echo "dvc repro: runs what is out of date, a line a stage"
	@dvc repro >/dev/null  # its three lines for each stage; stages, warnings and errors write to stderr
	@nsfw summary

# All tests, slow ones too, in three processes, as two leave 30 % of two cores idle: many tests wait for a server or a
# process. A plain `pytest` runs the fast ones in one. None of these and their children has a core to itself: a second
# thread of OpenBLAS spins there, and `audit` takes 14.6 s of CPU time instead of 2.2. `coverage report` lists the lines
# that no test has run.
test: install
	OPENBLAS_NUM_THREADS=1 pytest -m "not rare" -n 3 --dist loadfile --no-loadscope-reorder --cov --cov-report= $(ARGS)

lint: install
	ruff check .
	ruff format --check .
	mypy

# Known vulnerabilities of the locked packages; exit code 2 where the index has no such list.
audit: install
	@python .ci/audit.py

ui: install
	@nsfw ui
