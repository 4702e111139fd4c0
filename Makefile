# `make help` says what there is. Everything made goes to .build/.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .build/venv
PYTHON := $(VENV)/bin/python
PACKAGES := wire host hwdetect images steps bootmanager configmanager bootserver
# KEEP=1: the demo leaves its node running. MIRROR=<archive URI>: build from there, not from this machine's mirror.
# FIRMWARE=FILE: with the firmware packages of that list too. TEXTS=FILE: with what people read at a machine in another
# language. `make media` makes MEDIUM, with NODE's identity if named.
KEEP ?=
MIRROR ?=
FIRMWARE ?=
TEXTS ?=
MEDIUM ?= .build/medium.img
NODE ?=
# `make fuzz` spends so long on each target.
FUZZ_SECONDS ?= 600
# Whole machines are slow: two at a time on two cores.
VM_JOBS ?= 2
# A file is one worker's: the main job and its reinstallation take longest, and begin at once.
IN_TURN = -n $(VM_JOBS) --dist loadfile
PYTEST := $(PYTHON) -m pytest
# pytest rewrites the asserts of every test and of all of hypothesis; without a cache, each process does so at each
# start. Kept in .build even where the environment wants no bytecode: that is about the sources' folders.
# Their files lie in memory where there is room, and only those of failed tests stay: a disk costs processor time too.
IN_MEMORY = $$(df --output=avail /dev/shm 2>/dev/null | awk 'NR == 2 && $$1 > 4000000 { print "/dev/shm" }')
UNIT = PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX='$(CURDIR)/.build/pycache' \
	PYTEST_DEBUG_TEMPROOT="$(IN_MEMORY)" $(PYTEST) -q -n auto -o tmp_path_retention_policy=failed
# Host tests need root; the environment keeps what they look at.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E)

.PHONY: help
help: ## this list
	@echo "make demo    the main job, start to end, in a machine under QEMU"
	@echo "make test    lint, types and every test but the slow ones (make test-all)"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | sort | awk -F'|' '{printf "  %-11s %s\n", $$1, $$2}'
	@echo
	@echo "KEEP=1 leaves the demo's node running; FUZZ_SECONDS=60 fuzzes for a minute; MIRROR=<archive URI> builds from another Debian mirror."

.PHONY: setup
setup: ## install the Debian packages this machine lacks
	@build/setup-machine.sh

.PHONY: venv
venv: $(VENV)/.made ## make .build/venv, again when setup.cfg has changed

# The content decides, not the date: a clone or a checkout gives every file a new one.
$(VENV)/.made: setup.cfg pyproject.toml | setup
	@sum=$$(cat setup.cfg pyproject.toml | sha256sum); \
	if [ "$$(cat $@ 2>/dev/null)" = "$$sum" ]; then touch $@; exit; fi; \
	set -e; echo "venv: installing into $(VENV)"; \
	/usr/bin/python3 -m venv $(VENV); \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --upgrade 'setuptools>=70.1' pip; \
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[node,server,dev]'; \
	echo "$$sum" > $@

.PHONY: images
images: venv ## build boot medium, base filesystem and sliver image, what is missing of them
	@$(PYTHON) build/images.py $(if $(MIRROR),--mirror '$(MIRROR)') $(if $(FIRMWARE),--firmware '$(FIRMWARE)') \
		$(if $(TEXTS),--texts '$(TEXTS)')

# Whose deployment: that of the server whose folder BOOTSERVER_STATE names.
.PHONY: media
media: images ## a deployment's boot medium: MEDIUM=FILE, NODE=NAME for one with that node's identity
	@iso=$$($(PYTHON) -c 'import json; print(json.load(open(".build/images/index.json"))["boot.iso"]["path"])') && \
	$(PYTHON) -m bootserver media make ".build/images/$$iso" '$(MEDIUM)' $(if $(NODE),--node '$(NODE)')

.PHONY: demo
demo: images ## install a machine, show its node and sliver at work, reinstall it from the cache
	@$(PYTHON) -m tests.vm.demo $(if $(KEEP),--keep)

.PHONY: lint
lint: venv ## ruff: rules and layout
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

.PHONY: types
types: venv ## mypy, strict
	@$(VENV)/bin/mypy

.PHONY: unit
unit: venv ## tests without root, processes or network
	@$(UNIT) tests/unit

.PHONY: host-test
host-test: venv ## tests on loop devices and network namespaces, as root
	@$(AS_ROOT) $(PYTEST) -q -n auto tests/host

.PHONY: guest-test
guest-test: images ## tests inside a Debian 13 guest: systemd, control groups, containers
	@$(PYTHON) -m tests.vm.guest run

.PHONY: vm-test
vm-test: images ## whole machines in QEMU
	@$(PYTEST) -q $(IN_TURN) -m 'not slow' tests/vm

# One result for all of it, in .build/junit.xml. Each part runs even if an earlier one failed, so that a run says all.
.PHONY: test
test: images ## lint, types, unit, host and the quick VM tests
	@status=0; \
	$(MAKE) --no-print-directory lint || status=1; \
	$(MAKE) --no-print-directory types || status=1; \
	rm -f .build/junit*.xml; \
	HYPOTHESIS_PROFILE=thorough $(UNIT) --junit-xml=.build/junit-unit.xml tests/unit || status=1; \
	$(AS_ROOT) $(PYTEST) -q -n auto --junit-xml=.build/junit-host.xml tests/host || status=1; \
	$(PYTEST) -q $(IN_TURN) -m 'not slow' --junit-xml=.build/junit-vm.xml tests/vm || status=1; \
	$(PYTHON) build/junit.py .build/junit.xml .build/junit-{unit,host,vm}.xml || status=1; \
	exit $$status

.PHONY: test-all
test-all: test ## every test, those in the guest, the slow scenarios and the benchmark too
	@$(PYTHON) -m tests.vm.guest run --junit-xml .build/junit-guest.xml
	@$(PYTEST) -q $(IN_TURN) -m slow --junit-xml=.build/junit-slow.xml tests/vm
	@$(MAKE) --no-print-directory bench

.PHONY: bench
bench: images ## how fast it is: images against tar, cp, rsync and dd, an installation against a shell script
	@$(PYTHON) -m tests.bench

# Not in `make test`: it takes an hour and more. What it found is tested there, in tests/unit.
.PHONY: fuzz
fuzz: venv ## fuzz all that reads bytes from outside, FUZZ_SECONDS each
	@$(PYTHON) -c 'import atheris' 2>/dev/null || $(PYTHON) -m pip install --quiet --no-build-isolation -e '.[fuzz]'
	@$(PYTHON) -m tests.fuzz --seconds $(FUZZ_SECONDS)

.PHONY: clean
clean: ## remove what was made, except downloaded packages and built distributions
	@rm -rf $(VENV) .build/setuptools .build/pycache .build/images/project .build/images/iso .build/junit*.xml

.PHONY: distclean
distclean: ## remove all that was made
	@$(if $(filter 0,$(shell id -u)),,sudo )rm -rf --one-file-system .build
