.DEFAULT_GOAL := help
.PHONY: help toolchain test clean

PYTHON ?= python3

help: ## Say what each target does
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

.venv/.installed: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --require-hashes -r requirements.txt
	touch $@

toolchain: .venv/.installed ## Build the Go binaries into the cache (minutes the first time, at once afterwards)
	.venv/bin/python -m embedded.toolchain.build

test: .venv/.installed ## Check style and types, and run the tests
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy lab embedded
	.venv/bin/pytest -q

clean: ## Remove all traces but the toolchain cache
	rm -rf .venv .lab .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
