.DEFAULT_GOAL := help
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HOME_DIR ?= data
PORT ?= 8000
export ORT_DISABLE_TELEMETRY := 1
export MYPY_NUM_WORKERS := 2

.PHONY: help install demo serve test lint types faults conformance methods bench results openapi tables golden signatures lock release clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

# The lock is used where it is tried, by CI: hash by hash, so that a file that was changed in an index is refused.  Elsewhere
# its versions may have no wheels, an index may lack them, and then the newest are taken that pyproject.toml allows; there both distributions are named
# without extras, too, since pip finds one that another requires only then.
# torch's ordinary wheel is used, on machines without a GPU too: there is no CPU build of torchvision to go with another
LOCK ?= requirements.lock
TRIED := import platform, sys; sys.exit((*sys.version_info[:2], sys.platform, platform.machine()) != (3, 11, "linux", "x86_64"))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
$(VENV)/.installed: pyproject.toml server/pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Regraft needs Python 3.11 or newer"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	if [ -n "$(LOCK)" ] && $(BIN)/python -c '$(TRIED)'; then \
	    if $(PIP) --require-hashes --requirement $(LOCK) 2>$(VENV)/locked.log; then \
	        $(PIP) --no-deps --no-build-isolation --editable . --editable ./server; \
	    elif grep -q "DO NOT MATCH THE HASHES" $(VENV)/locked.log; then \
	        cat $(VENV)/locked.log >&2; exit 1; \
	    else \
	        tail -n 5 $(VENV)/locked.log >&2; \
	        echo "Versions of $(LOCK) cannot be had here: the newest that pyproject.toml allows are installed." >&2; \
	        $(PIP) --editable . --editable ./server --editable '.[dev]'; \
	    fi; \
	else \
	    $(PIP) --editable . --editable ./server --editable '.[dev]'; \
	fi
	touch $@

install: $(VENV)/.installed  ## make .venv with everything: server, client, tests

demo: install  ## MNIST -> optdigits over HTTP: scratch, linear probe, fine-tuning, side by side
	$(BIN)/regraft demo --home demo-data

serve: install  ## API, worker and prediction on port $(PORT), data under $(HOME_DIR)
	$(BIN)/regraft serve --home $(HOME_DIR) --port $(PORT)

test: install  ## lint, types, import contracts and the tests, on SQLite and a real Postgres
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup -m 'not matrix'

lint: install  ## style, format and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install  ## types of everything, tests, benchmarks and migrations, too
	$(BIN)/mypy

openapi: install  ## renew the snapshot of the OpenAPI document, after a change that is meant to change it
	REGRAFT_RENEW_OPENAPI=1 $(BIN)/pytest tests/app/api/test_openapi.py -k agreed_on

tables: install  ## renew the tables of methods and terms on the pages
	PYTHONPATH=. $(BIN)/python tests/architecture/tables.py

signatures: install  ## renew the shapes by which networks are recognised, after another version of torchvision or timm (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m worker.networks.signatures

golden: install  ## renew the golden loss traces, after a change that is meant to change them
	REGRAFT_RENEW_GOLDEN=1 $(BIN)/pytest tests/worker/methods -k golden

faults: install  ## the fault suite in its full counts (long)
	REGRAFT_FAULTS=full $(BIN)/pytest tests/system/faults tests/app/queue tests/app/removal tests/worker/supervisor

conformance: install  ## the long matrices, of which make test runs a share: every graph, architecture, format and benchmark (long)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup -m matrix

methods: install  ## every method and term over HTTP to its last artifact, on SQLite and a real Postgres (long)
	REGRAFT_METHODS_ON=sqlite,postgres OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup tests/system/test_every_method.py

bench: install  ## benchmarks: ratios against named peers, into docs/performance.md
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/int8.py
	$(BIN)/python benchmarks/training.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/probe.py
	$(BIN)/python benchmarks/poll.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/claims.py
	$(BIN)/python benchmarks/ingestion.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/report.py

results: install  ## docs/results.md: every transfer on real data against tuned baselines (long; goes on where it was)
	$(BIN)/python benchmarks/transfer.py --jobs 2

lock:  ## renew requirements.lock: the newest versions that pyproject.toml allows, for every platform, with their hashes
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	printf '%s\n' '-e .[dev]' '-e ./server' | build/lock/bin/uv pip compile - --quiet --upgrade --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
	    --no-emit-package regraft --no-emit-package regraft-server --output-file build/lock/compiled
	{ grep '^#' requirements.lock; cat build/lock/compiled; } > build/lock/renewed
	mv build/lock/renewed requirements.lock

RELEASE := build/release
release: install  ## dist/: the wheels of the last commit, after the demo has run with them in an empty environment
	rm -rf dist $(RELEASE)
	git clone --quiet . $(RELEASE)/source
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist $(RELEASE)/source $(RELEASE)/source/server
	$(PYTHON) -m venv $(RELEASE)/venv
	$(RELEASE)/venv/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl "$$(echo dist/regraft-*.whl)[demo]"
	cd $(RELEASE) && venv/bin/regraft demo --home home
	ls -l dist

clean:  ## remove what the commands above made
	rm -rf $(VENV) .benchmarks data demo-data build server/build dist *.egg-info
