# One entry point. `make` alone tells what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INVENTORY ?= inventories/lab
ANSIBLE_ARGS ?=
PLAYBOOK := $(BIN)/ansible-playbook -i $(INVENTORY) $(ANSIBLE_ARGS)

export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

.PHONY: help
help: ## Tell what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What Ansible, the lab and the tests need of Debian. Installed only when something is missing, so that a second run is quick.
DEBIAN_PACKAGES := git mtools openssh-client pacemaker-cli-utils python3-libvirt python3-venv qemu-system-x86 seabios xorriso

$(STAMP): requirements.txt
	@missing=$$(comm -13 \
	  <(dpkg-query -W -f '$${Package} $${Status}\n' $(DEBIAN_PACKAGES) 2>/dev/null | awk '/ok installed/ { print $$1 }' | sort) \
	  <(printf '%s\n' $(DEBIAN_PACKAGES) | sort)); \
	if [ -n "$$missing" ]; then \
	  echo "installing" $$missing; \
	  apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	fi
	@echo "installing the pinned Python packages into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.PHONY: setup
setup: $(STAMP) ## Make .venv with the pinned tools

.PHONY: lab
lab: $(STAMP) ## Bring the lab of three nodes up
	$(PLAYBOOK) playbooks/lab.yml

.PHONY: site
site: $(STAMP) ## Bring the lab up and build everything on it: hosts, storage, VMs
	$(PLAYBOOK) playbooks/lab.yml site.yml

.PHONY: plan
plan: $(STAMP) ## Show where each VM would go, under every rule; touches no host of the lab
	$(PLAYBOOK) playbooks/plan.yml

.PHONY: test
test: lint unit molecule ## All tests: lint, units, and the scenarios on the lab

.PHONY: lint
lint: $(STAMP) ## ansible-lint (production), yamllint, ruff, mypy (strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy plugins
	$(BIN)/yamllint --strict .
	$(BIN)/ansible-lint

.PHONY: unit
unit: $(STAMP) ## Unit tests
	$(BIN)/pytest

# In this order: `empty` needs hosts on which nothing was built yet, and what changes much comes last.
SCENARIOS ?= empty local centralized

# Reset: a run that was cut off would have molecule believe that the lab still stands.
.PHONY: molecule
molecule: $(STAMP) ## The scenarios, on a lab made for them and taken away after them
	@export MOLECULE_GLOB='./molecule/*/molecule.yml'; \
	mkdir -p build/log; scenario=create; \
	finish() { code=$$?; \
	  $(BIN)/molecule destroy -s default >build/log/destroy.log 2>&1 || { code=1; tail -n 40 build/log/destroy.log; }; \
	  [ $$code = 0 ] || { grep -hE 'fatal:|FAILED |ERROR |Error:|^E  ' build/log/$$scenario.log | tail -n 15 || true; \
	    echo "molecule failed in $$scenario; all it printed is in build/log/$$scenario.log"; }; \
	  exit $$code; }; \
	trap finish EXIT; \
	$(BIN)/molecule reset -s default >/dev/null 2>&1; \
	$(BIN)/molecule create -s default 2>&1 | tee build/log/create.log; \
	for scenario in $(SCENARIOS); do \
	  $(BIN)/molecule test --destroy=never -s $$scenario 2>&1 | tee build/log/$$scenario.log; \
	done

.PHONY: bench
bench: $(STAMP) ## Benchmarks; each runs both sides and prints a ratio
	@command -v hcheck >/dev/null || { echo "installing ganeti-htools, the other side"; apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends ganeti-htools >/dev/null; }
	$(BIN)/python -m pytest tests/bench -s

.PHONY: mutation
mutation: $(STAMP) ## Change each comparison of the rules and see a test fail; some minutes
	$(BIN)/python tests/mutation/run.py

.PHONY: build
build: $(STAMP) ## Build the collection as a tar archive
	$(BIN)/ansible-galaxy collection build --force --output-path build

.PHONY: lock
lock: ## Write requirements.txt anew from requirements.in
	$(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-find-links \
	  --custom-compile-command 'make lock' --upgrade -o requirements.txt requirements.in

.PHONY: clean
clean: ## Take the lab away
	@if [ -d /var/lib/croft-lab ]; then $(MAKE) --no-print-directory $(STAMP) && $(PLAYBOOK) playbooks/lab.yml -e lab_state=absent; \
	else echo "there is no lab"; fi

.PHONY: distclean
distclean: clean ## Also remove .venv and the cached images
	rm -rf $(VENV) build .ansible .mypy_cache .pytest_cache .ruff_cache .hypothesis /var/cache/croft
