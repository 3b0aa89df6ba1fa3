# `make help` is the manual: every target that has a `##` line is listed there.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.8
UV := .tools/bin/uv
RUN := $(UV) run --frozen
PYTEST := $(RUN) pytest
# where it is set, each of the thousand processes that the tests start compiles all that it imports: half of their time
unexport PYTHONDONTWRITEBYTECODE

##@ Use it
.PHONY: up
up: venv ## Cluster, images, chart, the examples; calls over HTTP, a verdict, a backup that was restored for a test
	$(RUN) python -m dev.up

.PHONY: drill
drill: venv ## Destroy the database of the platform that `make up` made, and bring it back; the timeline is printed
	$(RUN) python -m dev.drill

.PHONY: dev
dev: venv ## The credits API on 127.0.0.1:8080 without Kubernetes (Ctrl-C stops it all)
	$(RUN) python -m dev.devserver

.PHONY: down
down: ## Remove the local cluster and everything it left on this machine
	python3 -m dev.cluster down

.PHONY: cluster
cluster: ## The local cluster alone; prints the `export KUBECONFIG=` line (CONTEXT=name uses yours)
	python3 -m dev.cluster up

.PHONY: kubectl
kubectl: ## Talk to it: make kubectl ARGS="get pods -A"
	@python3 -m dev.cluster kubectl $(ARGS)

.PHONY: image
image: $(UV) ## The container images, as archives in .state/images
	python3 -m dev.images build

##@ Prove it
.PHONY: test
test: check test-unit test-integration test-e2e ## What CI runs: the four below, on this machine, in one go

.PHONY: check
check: venv ## Style, types (of tests and benches too), import rules, tidy rules, generated files up to date
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports --no-cache
	$(RUN) python -m shieldx_operator.generate --check
	$(RUN) python -m shieldx_runtime openapi --check
	$(PYTEST) -q tests/tidy

.PHONY: test-unit
test-unit: venv ## Pure logic: no network, no cluster
	$(PYTEST) -q -n 2 tests/unit

# each of the two workers has a database, a cache and a service of its own, a file's tests stay together, and files keep
# their order; who is served before whom is looked at with nobody beside it
.PHONY: test-integration
test-integration: venv ## The runtime on a real PostgreSQL and a real Redis
	$(PYTEST) -q -n 2 --dist loadfile --no-loadscope-reorder tests/integration --ignore=tests/integration/shadow
	$(PYTEST) -q tests/integration/shadow

# the operator's tests first, while nobody else's operator is in the cluster: then they need no second one
.PHONY: test-e2e
test-e2e: venv cluster ## The operator, the chart and the platform on a real cluster
	$(PYTEST) -v tests/e2e/operator
	$(PYTEST) -v tests/e2e --ignore=tests/e2e/operator --ignore=tests/e2e/shadow --ignore=tests/e2e/backup

.PHONY: test-e2e-jobs
test-e2e-jobs: venv cluster ## Evaluations and backups on a real cluster; not a part of `make test` yet
	$(PYTEST) -v tests/e2e/shadow tests/e2e/backup

.PHONY: bench-operator
bench-operator: venv ## 5,000 objects on the real API server, beside a plain kopf operator
	$(RUN) python -m bench.operator

.PHONY: torture
torture: venv ## The ledger under kill -9 of service, PostgreSQL and Redis, by a crash oracle (SEEDS=20)
	$(RUN) python -m tests.integration.torture --seeds $(or $(SEEDS),20)

.PHONY: bench-credits
bench-credits: venv ## The ledger beside pgbench and a naive route (needs wrk; ARGS=--short takes two minutes)
	$(RUN) python -m bench.credits $(ARGS)

.PHONY: bench-shadow
bench-shadow: venv ## The evaluation engine beside a plain loop and a pool of it; coverage of its intervals (ARGS=--short: seconds)
	$(RUN) python -m bench.shadow $(ARGS)

.PHONY: bench-backup
bench-backup: venv ## Dump and restore 640 MB beside plain tools, p99 during a dump, RPO by 20 kills (ARGS=--short: a minute)
	$(RUN) python -m bench.backup $(ARGS)

##@ Work on it
.PHONY: generate
generate: venv ## CRDs, the chart's parts, deploy/, reference pages and the OpenAPI documents, out of the types
	$(RUN) python -m shieldx_operator.generate
	python3 -m dev.deploy
	$(RUN) python -m shieldx_runtime openapi

.PHONY: format
format: venv ## Format and fix what can be fixed by a machine
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

.PHONY: venv
venv: .venv/.synced

.venv/.synced: pyproject.toml uv.lock | $(UV)
	@# compiled once: else every process that a test starts spends seconds on it where Python may not write
	@$(UV) sync --frozen --quiet --compile-bytecode
	@touch $@

$(UV):
	@echo "installing uv $(UV_VERSION) into .tools"
	@python3 -m venv .tools
	@.tools/bin/pip install --quiet uv==$(UV_VERSION)

.PHONY: clean
clean: ## Remove what the targets above made inside this folder
	rm -rf .venv .tools .state .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help
help: ## This text
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n\033[1m%s\033[0m\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  \033[36m%-18s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
