# The steps of CI, one target each; `make` lists them, and `.ci/run` is `make ci` after the set-up.
.DEFAULT_GOAL := help
.PHONY: help setup lint format types imports test quick wheel ci lock site

help:       ## list the targets
	@grep -hE '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s:

setup:      ## install Python packages into .venv
	pip install --quiet uv && uv sync --quiet

lint:       ## check style
	uv run --no-sync ruff check .
	uv run --no-sync ruff format --check .

format:     ## format and fix what can be fixed
	uv run --no-sync ruff check --fix .
	uv run --no-sync ruff format .

types:      ## check types
	uv run --no-sync mypy

imports:    ## check that imports go one way
	uv run --no-sync lint-imports

test:       ## run all tests
	uv run pytest

quick:      ## run the tests that take seconds
	uv run pytest -m "not slow and not browser and not slurm"

wheel:      ## build the wheel
	uv build --wheel

site:       ## build the documentation into build/site, strictly
	uv run --no-sync mkdocs build --quiet --strict

lock:       ## export the exact versions with hashes for pip
	uv export --quiet --no-dev --no-default-groups --no-emit-project --format requirements-txt -o requirements.lock

ci: lint types imports site test  ## all that CI checks
