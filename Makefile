# Every command a person needs; `make` alone prints them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

SYSTEM_PYTHON ?= python3
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
READY  := $(SYSTEM_PYTHON) services/stack/bootstrap.py
STACK  := $(READY) && $(PYTHON) -m services.stack

# Words that `make up` and `make demo` hand on, where given: make up SPEED=60 SCENARIO=reference_day
WORDS := PRICES SESSIONS DATE STATION SCENARIO SPEED SEED DATABASE ENGINE
SAID   = $(foreach word,$(WORDS),$(if $($(word)),'$(word)=$($(word))'))
ROLE  ?= operator
SIM    = $(if $(SCENARIO),--scenario '$(SCENARIO)') $(if $(SEED),--seed '$(SEED)') $(if $(HOURS),--hours '$(HOURS)') \
         $(if $(BUNDLE),--bundle '$(BUNDLE)')

.PHONY: help setup lock fmt lint check test sim live up down logs status token run demo docs bench soak yardstick ci

help: ## list these commands
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv with exactly what requirements.lock names
	@$(READY)

lock: setup ## renew requirements.lock after a change of pyproject.toml
	@.venv/bin/uv pip compile --universal --generate-hashes --all-extras pyproject.toml -o requirements.lock >/dev/null

fmt: setup ## format and fix
	@.venv/bin/ruff check --fix --quiet . || true
	@.venv/bin/ruff format .

lint: setup ## format, lint, types, imports
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports

check: lint ## lint, tidy, unit, contract: before every commit
	@$(PYTEST) -q -n 2 -m "not soak" tests/tidy tests/unit tests/contract

test: setup ## all suites: tidy, unit, contract, integration, simulation, browser, live, compose
	@$(PYTEST) -n 2 -m "not soak and not live and not browser and not compose"
	@$(PYTEST) -n 3 --dist loadfile -m "(live or browser or compose) and not soak"

sim: setup ## both twins and the device in one process: SCENARIO=reference_day SEED=1 HOURS=24, or BUNDLE=FILE
	@$(PYTHON) -m tests.simulation $(SIM)

live: setup ## three real processes: start, kill, heal, refuse bad input
	@$(PYTEST) -m "live and not soak" tests/live

up: ## start the stack: containers where an engine runs, else three processes; PRICES= DATE= SESSIONS= SPEED= ENGINE=native
	@$(STACK) up $(SAID)

demo: ## start the stack with a fast clock: SCENARIO=reference_day SPEED=60
	@$(STACK) demo $(SAID)

down: ## stop what `make up` started
	@$(STACK) down

logs: ## follow the logs of all programs
	@$(STACK) logs

status: ## health, clock and freshness of the data
	@$(STACK) status

token: ## print a bearer token: ROLE=operator or ROLE=viewer
	@$(STACK) token ROLE=$(ROLE)

run: ## a program's own command inside the stack: DO='enexa site add SITE002'
	@$(STACK) run $(DO)

docs: setup ## rebuild docs/reference from the tables
	@$(PYTHON) docs/build.py

bench: setup ## speed, against limits and peers
	@$(PYTHON) -m tests.bench

soak: setup ## long runs and many seeds
	@$(PYTEST) -m soak --timeout 3600

yardstick: setup ## the planner against the arithmetic of perfect foresight: PRICES=FILE
	@$(PYTHON) -m services.enexa.cli.yardstick $(if $(PRICES),'$(PRICES)')

ci: lint test ## exactly what CI runs
