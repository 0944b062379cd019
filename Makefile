.DEFAULT_GOAL := help
.PHONY: help toolchain lab check browser test test-all soak bench down clean

PYTHON ?= python3
# Where this is set, each of the many commands that the tests start compiles our modules again.
unexport PYTHONDONTWRITEBYTECODE
BROWSER ?= yes
# They use most of both cores, or kill parts of the cluster; each other test waits about a third of its time.
ONE_BY_ONE = tests/e2e tests/embedded/test_cluster.py tests/embedded/test_cluster_lifecycle.py
SELECTED = not unit and not soak $(NOT_SLOW) $(if $(filter no,$(BROWSER)),and not browser)
NOT_SLOW = and not slow
test-all: NOT_SLOW =
PROPERTIES = tests/unit/test_answers.py tests/embedded/test_objects.py $(wildcard tests/*/test_properties.py tests/*/*/test_properties.py)
# Tests that fail run once more, because a busy machine can make a test late; the first run shows why they failed.
pytest = .venv/bin/pytest -q $(1) || { [ $$? = 1 ] && .venv/bin/pytest -q --last-failed --last-failed-no-failures none $(1); }

help: ## Show what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

.venv/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"$(PYTHON) is Python {v[0]}.{v[1]}; Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.venv/.installed-dev: requirements-dev.txt .venv/.installed
	.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	touch $@

toolchain: .venv/.installed ## Build the Go binaries into the cache (minutes the first time, at once afterwards)
	.venv/bin/python -m embedded.toolchain.build

lab: toolchain ## Start the embedded cluster, run all stages of the lab and measure each
	.venv/bin/lab up
	.venv/bin/lab run

check: .venv/.installed-dev ## Check format, style, types, the order of imports, and run the unit and policy tests
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	$(call pytest,-m unit -n 3 tests/unit tests/policies)

browser: .venv/.installed-dev ## Check that Chromium is here for the browser tests; root installs the distribution's package
	if [ "$(BROWSER)" != no ]; then .venv/bin/python -m tools.browser; fi

test: ## Run `check`, and the tests on a cluster that are not slow: about 15 minutes; BROWSER=no leaves out the browser tests
test-all: ## Run `check`, and every test but those of `soak`: about an hour
test test-all: browser toolchain check
	$(call pytest,-n 2 --dist loadfile -m "$(SELECTED)" tests/statistics tests/browser tests/policies tests/embedded $(ONE_BY_ONE:%=--ignore=%))
	$(call pytest,-m "$(SELECTED)" $(ONE_BY_ONE))

soak: toolchain .venv/.installed-dev ## Run the tests that take long or kill processes at random moments, and 145,000 cases of properties
	WAYPOINT_LAB_SOAK_CASES=5000 .venv/bin/pytest -q -s $(PROPERTIES)
	.venv/bin/pytest -q -s -m soak

bench: toolchain ## Time a weight step beside an unchanged update, an empty program and kubectl; sum up the cluster's idle memory
	.venv/bin/lab up
	.venv/bin/lab bench

down: ## Stop the embedded cluster
	.venv/bin/lab down

clean: ## Stop the embedded cluster and remove all traces but the toolchain cache; refused while .lab or .lab-history is needed for other clusters
	$(PYTHON) -m tools.other_clusters
	if [ -x .venv/bin/lab ]; then .venv/bin/lab --state .lab down; fi
	rm -rf .venv build components/venv examples/*/venv .lab .lab-history examples/*/.lab-history .pytest_cache .mypy_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
