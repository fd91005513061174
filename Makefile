# `make help` lists what there is.
SHELL := /bin/bash
export TTF_CACHE_DIR ?= $(HOME)/.cache/ttf
# Builds live outside the checkout, so that a fresh clone starts warm.
export CARGO_TARGET_DIR ?= $(TTF_CACHE_DIR)/target

ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help dev build test test-quick test-python test-deploy test-cluster test-operations fuzz lint fmt bench bench-streams audit services-up services-down services-env prerequisites

help: ## Show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

prerequisites:
	@scripts/prerequisites.sh

dev: prerequisites ## Build and start everything on http://127.0.0.1:8080 (ARGS='--listen …' to change)
	@cargo build --bin ttf --locked
	@mkdir -p bin && ln -sfn $(CARGO_TARGET_DIR)/debug/ttf bin/ttf
	@exec bin/ttf dev $(ARGS)

build: prerequisites ## Build the release binary
	cargo build --release --bin ttf --locked
	@ls -l $(CARGO_TARGET_DIR)/release/ttf

test: prerequisites ## Install and start real servers, run every suite, stop the servers
	@scripts/test.sh

test-quick: prerequisites ## Only the suites that need no server
	cargo test --locked --workspace --lib --bins

test-python: prerequisites ## Only the Python client's suites (ARGS go to pytest; a broker: make services-up)
	@scripts/test-python.sh $(ARGS)

test-deploy: prerequisites ## Only the checks of deploy/ and docker-compose.yml (no container engine needed)
	@scripts/test-deploy.sh $(ARGS)

test-cluster: ## Only deploy/ on a real control plane without nodes (builds it once, with Go: 20 minutes; not part of `make test`)
	@scripts/test-cluster.sh $(ARGS)

test-operations: prerequisites ## Only the tests of operation: TLS, ttf doctor, rolling restart, recovery (servers: make services-up)
	@scripts/test-operations.sh $(ARGS)

fuzz: prerequisites ## Only the fuzzing of what the gateway reads, a minute (ARGS: targets; FUZZ_SECONDS)
	@scripts/fuzz.sh $(ARGS)

lint: prerequisites ## Format check, clippy with warnings as errors, shell syntax, the Python client's types
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	@for f in scripts/*.sh scripts/*/*.sh .ci/run; do bash -n $$f || exit 1; done
	scripts/test-python.sh lint

fmt: ## Format the code
	cargo fmt --all

audit: ## Licences, sources and known weaknesses of the dependencies
	@scripts/audit.sh

bench: prerequisites ## Run the benchmarks (release build, real servers); prints ratios (ARGS=gateway | client | …: bench/README.md)
	@bench/run.sh $(ARGS)

bench-streams: prerequisites ## Measure the stream processor next to Kafka Streams (ARGS='throughput latency restore growth')
	@bench/streams.sh $(ARGS)

services-up: ## Start Kafka, registry, PostgreSQL, Redis, S3, SMTP on free ports (no docker)
	@scripts/services/services.sh up

services-down: ## Stop what services-up started
	@scripts/services/services.sh down

services-env: ## Print their addresses
	@scripts/services/services.sh env
