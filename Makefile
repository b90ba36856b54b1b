# What a person runs, and CI: `make help` lists it. Needs make, Python 3.11 or newer and g++.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
TRAINING := .venv-training
PYTEST := $(BIN)/pytest -q

QUICK := lint types arch protos-check test-unit
PARTS := $(QUICK) types-training test-training test-integration test-e2e test-browser test-proofs test-cluster test-redis test-images

.PHONY: help demo install up training test check lint types types-training arch protos \
	protos-check test-unit test-training test-integration test-e2e test-browser test-proofs test-cluster test-redis test-images clean

help: ## List what make can do
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed-cli ## Open a demo shop and walk through it; ONCE=1 ends after that
	@$(BIN)/freshet demo $(if $(ONCE),--once)

install: $(VENV)/installed-cli ## Install what runs here, into .venv

up: $(VENV)/installed-cli ## Run everything here until Ctrl-C
	@$(BIN)/freshet up

training: $(TRAINING)/installed-training ## Install what `freshet train` needs: PyTorch, 3 GB

test: $(VENV)/installed-test ## All of it, as CI does; ends with a table of its parts
	@$(BIN)/python -m tests.run $(PARTS)

check: $(QUICK) ## The quick part: lint, types, imports, unit tests

lint: $(VENV)/installed-test ## Style, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(VENV)/installed-test ## Static types
	$(BIN)/mypy --exclude '^(services|tests|tests/unit)/training/' freshet shared services deploy/models/export tests

types-training: $(TRAINING)/installed-test-training ## Static types of training, where PyTorch is
	$(TRAINING)/bin/mypy services/training tests/training tests/unit/training

arch: $(VENV)/installed-test ## Which part may import which
	$(BIN)/lint-imports

protos: $(VENV)/installed-test ## Generate code and JSON Schemas from the contracts
	protos/generate

protos-check: $(VENV)/installed-test ## Contracts: lint, generated code in step
	$(PYTEST) -n auto tests/contract

test-unit: $(VENV)/installed-test ## Without servers, in parallel
	$(PYTEST) -n auto tests/unit

test-training: $(TRAINING)/installed-test-training ## Models that are fitted with PyTorch
	$(TRAINING)/bin/pytest -q -n 2 tests/training

test-integration: $(VENV)/installed-test ## On the project's own Kafka and Valkey
	$(PYTEST) tests/integration

test-e2e: $(VENV)/installed-test ## The whole system through its public endpoints
	$(PYTEST) tests/e2e

test-browser: $(VENV)/installed-test ## The page in a real Chromium; screenshots go to .screenshots
	$(PYTEST) tests/browser

test-proofs: $(VENV)/installed-test $(TRAINING)/installed-training ## Kill loops and faults, slow
	$(PYTEST) tests/proofs

test-cluster: $(VENV)/installed-test ## Manifests on a real Kubernetes control plane
	$(PYTEST) tests/cluster

test-redis: $(VENV)/installed-test ## Integration and e2e once more, on redis-server
	FRESHET_TEST_REDIS=redis-server $(PYTEST) tests/integration tests/e2e

test-images: $(VENV)/installed-test ## Every image built and started, with buildah and debootstrap
	$(PYTEST) tests/images

clean: ## Delete what was installed and the tools' caches
	rm -rf $(VENV) $(TRAINING) .screenshots .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/installed-%: deploy/locks/%.txt pyproject.toml deploy/locks/install
	@deploy/locks/install $*
	@touch $@

$(TRAINING)/installed-%: deploy/locks/%.txt pyproject.toml deploy/locks/install
	@deploy/locks/install $*
	@touch $@
