# Everything this project does, by name. `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= $(shell command -v python3.11 || command -v python3)
override PYTHON := $(shell command -v "$(PYTHON)")
BIN := .venv/bin
T ?= tests
NODE := PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: help run pages test e2e screenshots chaos bench check format lock migration clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

run: .venv/run ## Serve on http://localhost:8000 (PORT=... elsewhere; PLC=demo: four machines over Modbus)
	@$(MAKE) --no-print-directory pages || echo "The pages could not be built: everything else is served" >&2
	@$(BIN)/python config/dev/run.py

pages: server/pages/index.html ## Build the pages that the server serves

test: .venv/dev .venv/system tests/clients/node_modules clients/node_modules ## Set up what the tests need and run them (T=path for some)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not e2e" $(T)
	@test "$(T)" != tests || (cd clients && $(NODE) npm test --silent -w js -w web)

e2e: .venv/dev .venv/system tests/clients/node_modules pages ## The slow tests: whole processes, browsers, real time
	$(BIN)/python -m pytest -m e2e tests

screenshots: .venv/dev .venv/system pages ## Take docs/images anew
	$(BIN)/python -m tests.pages.screenshots

chaos: .venv/dev .venv/system tests/clients/node_modules ## Kill nodes and Redis while 100,000 messages are sent (C="--seed 1" to repeat)
	$(BIN)/python -m tests.chaos --messages 100000 --kills 50 $(C)

bench: .venv/dev .venv/bench tests/bench/node_modules ## Measure against the peers, 35 minutes (W="paced ack" for some)
	@command -v gcc >/dev/null || { echo "The C loop among the peers needs gcc" >&2; exit 1; }
	$(BIN)/python -m tests.bench $(W)

check: .venv/dev ## Format, lint, types, import rules, the mirror of modules and tests, the lock
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --cache-dir .import_linter_cache
	$(BIN)/python tests/mirror.py
	@$(MAKE) --no-print-directory lock-check check-clients

format: .venv/dev ## Format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate setup.cfg --extra all

lock: .venv/dev ## Renew the lock of dependencies
	$(COMPILE) --upgrade -o requirements.txt
	$(COMPILE) --upgrade --extra dev -c requirements.txt -o requirements-dev.txt

.PHONY: lock-check
lock-check: # the lock still answers setup.cfg
	@for extra in "" -dev; do \
		cp requirements$$extra.txt .venv/lock.txt; \
		$(COMPILE) $${extra:+--extra dev} -o .venv/lock.txt; \
		diff -u <(sed 's/#.*//' requirements$$extra.txt) <(sed 's/#.*//' .venv/lock.txt) \
			|| { echo "requirements$$extra.txt is not in step with setup.cfg: make lock" >&2; exit 1; }; \
	done

migration: .venv/dev ## Write a migration for what the models changed (m="what")
	@MIGRATION="$(m)" $(BIN)/python config/dev/migration.py

.PHONY: check-clients
check-clients: clients/node_modules # format, lint and types of what is written in TypeScript
	cd clients && $(NODE) npx biome ci --error-on-warnings --colors=off
	cd clients && $(NODE) npx tsc --noEmit -p js && $(NODE) npx tsc --noEmit -p web
	cd clients && $(NODE) PYTHON=$(CURDIR)/$(BIN)/python npm run --silent protocol:check -w js

clean: ## Remove what the other targets made, the development database too
	rm -rf .venv var build dist *.egg-info server/pages clients/node_modules clients/js/dist tests/clients/node_modules tests/bench/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/pip:
	@test -x "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	"$(PYTHON)" -m venv .venv

.venv/run: requirements.txt | .venv/bin/pip
	@echo "Installing (once, some 20 seconds)"
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt | .venv/bin/pip
	@echo "Installing (once, some 30 seconds)"
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	@touch $@ .venv/run

.venv/system: config/dev/system-packages.sh | .venv/bin/pip
	@bash config/dev/system-packages.sh
	@touch $@

.venv/bench: tests/bench/requirements.txt | .venv/bin/pip
	"$(PYTHON)" -m venv $@
	@$@/bin/python -m pip install --quiet -r tests/bench/requirements.txt
	@touch $@

.venv/node: config/dev/node.sh | .venv/bin/pip
	@bash config/dev/node.sh
	@touch $@

# Not `npm ci`: that wants every platform's binaries in the lock, and registries that mirror may have some only.
clients/node_modules: clients/package-lock.json | .venv/node
	@echo "Installing what builds the pages (once, some 20 seconds)"
	@cd clients && $(NODE) npm install --no-save --no-fund --no-audit --loglevel=error --fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-timeout=30000 >/dev/null
	@touch $@

PAGES = $(shell find clients/web clients/js/src -type f -not -path "*/node_modules/*")

server/pages/index.html: clients/node_modules $(PAGES)
	@cd clients && $(NODE) npm run --silent build -w web -- --logLevel warn

%/node_modules: %/package-lock.json | .venv/system
	cd $* && npm ci --no-fund --no-audit --loglevel=error
	@touch $@
