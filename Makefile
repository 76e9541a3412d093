# `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH_DEBIAN := libclang-dev libacl1-dev
DEBIAN := auditd audispd-plugins python3-venv build-essential systemd zstd chromium
PACKAGES := kernel or auditd or conda
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run test lane-kernel lane-others lint bench opensearch elasticsearch docs wheel fuzz mutants clean debian rust
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 15

setup: debian rust $(VENV)/.core ## Set up .venv with everything in it, the compiled core included

debian:
	@missing=""; for package in $(DEBIAN); do dpkg -s $$package >/dev/null 2>&1 || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then \
	  if ! command -v apt-get >/dev/null; then echo "this is no Debian; install the like of:$$missing"; \
	  elif [ $$(id -u) -eq 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  else echo "missing:$$missing"; echo "run: sudo apt-get install -y$$missing"; fi; fi

rust:
	@command -v cargo >/dev/null || { echo "error: no Rust toolchain"; echo "hint: install rustup (apt-get install rustup, or your distribution's package), then: rustup default stable"; exit 3; }

$(VENV)/.tools: requirements.txt requirements-uv.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-uv.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --link-mode copy --require-hashes -r requirements.txt
	@$(BIN)/python -m compileall -q $(VENV)/lib >/dev/null || true
	@touch $@

$(VENV)/.core: $(VENV)/.tools Cargo.toml Cargo.lock pyproject.toml $(shell find crates -name '*.rs' -o -name Cargo.toml)
	@echo "building the compiled core"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --uv -q
	@touch $@

run: setup ## Watch this machine, with a live feed; where it cannot, say why and play a recorded trail
	@$(BIN)/envtrail up; code=$$?; \
	if [ $$code -eq 3 ]; then echo "this machine cannot be watched from here: playing a recorded trail instead"; $(BIN)/envtrail demo; \
	elif [ $$code -eq 130 ]; then exit 0; else exit $$code; fi

test: setup ## Pass the whole test suite, Rust and Python
	@echo "two lanes, side by side; each part is shown when it is done, the first after some minutes"
	+@$(MAKE) -s -j 2 --output-sync=line lane-kernel lane-others

# Side by side, as the kernel's waits more than it computes. What watches or changes packages of this machine stays in one lane: fanotify sees
# all of it. Each has folders of its own: a pytest without `--basetemp` closes those of others to other users.
lane-kernel:
	$(BIN)/python -m pytest -q -p no:randomly --basetemp=/tmp/envtrail-lane-kernel -m "$(PACKAGES)"

lane-others:
	cargo test -q --profile light --workspace
	$(BIN)/python -m pytest -q -n 2 --basetemp=/tmp/envtrail-lane-fast -m "not ($(PACKAGES) or browser or search)"
	$(BIN)/python -m pytest -q -p no:randomly --basetemp=/tmp/envtrail-lane-servers -m "(browser or search) and not ($(PACKAGES))"

lint: setup ## ruff, mypy, stubtest, import-linter, rustfmt, clippy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest envtrail.core._core --ignore-disjoint-bases
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	cargo fmt --check
	cargo clippy -q --profile light --workspace --all-targets -- -D warnings

bench: DEBIAN += $(BENCH_DEBIAN)
bench: setup ## Measure, beside the peers; writes bench/results/ (laurel's build needs libclang and libacl)
	$(BIN)/python bench/run.py

opensearch: setup ## A real OpenSearch on 127.0.0.1:9200, fetched on first use, until Ctrl-C (needs a JDK of 21 or newer)
	@$(BIN)/python tools/search_server.py opensearch

elasticsearch: setup ## A real Elasticsearch likewise
	@$(BIN)/python tools/search_server.py elasticsearch

docs: setup ## Write the reference pages from the code
	$(BIN)/python docs/generate.py

wheel: setup ## Build the wheel into dist/, with the pins of what it needs, to install on other machines: they need neither Rust nor this folder
	@$(BIN)/maturin build --release -q -o dist
	@cp requirements-service.txt dist/requirements.txt
	@ls dist/*.whl dist/requirements.txt

fuzz: export ENVTRAIL_FUZZ_SECONDS ?= 60
fuzz: setup ## Mutate records, command lines, requests to the socket, environments and segments, for a minute each (ENVTRAIL_FUZZ_SECONDS)
	cargo test -q --release -p envtrail-core --test fuzz_smoke --test fuzz_redact
	$(BIN)/python -m pytest -q -p no:randomly --timeout=0 tests/property/test_fuzz.py

mutants: MODULES ?= envtrail.interpret.* envtrail.environments.* envtrail.policy.* envtrail.trail.* envtrail.state.* envtrail-core
mutants: SAMPLE ?= 60
mutants: SEED ?= 0
mutants: setup ## Change one thing at a time in MODULES, in SAMPLE places of each (SEED repeats a choice), and list what no fast test notices
	@set -f; $(if $(filter-out envtrail-core,$(MODULES)),$(BIN)/python tools/mutants.py --sample $(SAMPLE) --seed $(SEED) $(filter-out envtrail-core,$(MODULES)))
	@$(if $(filter envtrail-core,$(MODULES)),$(BIN)/python tools/core_mutants.py --sample $(SAMPLE) --seed $(SEED))

clean: ## Remove what was built
	rm -rf target dist mutants $(VENV) .cache
