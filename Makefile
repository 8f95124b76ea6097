# Every target makes what it needs in .venv: a Debian machine with python3, python3-venv and make is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Many tests wait for a server or a daemon: while three of six workers do, the others keep two cores busy.
TEST_WORKERS = $(shell expr 3 '*' $$(nproc))

.PHONY: help demo test unit test-thorough coverage pgbouncer nginx axe test-systemd deb docs references lint format bench bench-full growth consortium audit sbom mutation chaos soak kills faults fuzz clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort | expand --tabs=16

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "poddispatchd needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,dev,push]'
	@touch $@

demo: $(STAMP) ## the whole system on an embedded PostgreSQL with fake runner managers
	$(BIN)/poddispatchd demo $(DEMO_OPTIONS)

# The tests' database and files wait for no disk where memory has room for them.
ROOMY_MEMORY = $(shell df --output=avail,target --block-size=G /dev/shm 2>/dev/null | awk '$$1 + 0 >= 4 {print $$2}')

test: $(STAMP) pgbouncer nginx axe ## every test
	TMPDIR=$(or $(ROOMY_MEMORY),$(TMPDIR),/tmp) $(BIN)/pytest -n $(TEST_WORKERS) --dist worksteal $(PYTEST_OPTIONS)

unit: $(STAMP) ## the tests that need no server
	TMPDIR=$(or $(ROOMY_MEMORY),$(TMPDIR),/tmp) $(BIN)/pytest -n $(shell expr $$(nproc) + 1) --dist worksteal -q tests/unit $(PYTEST_OPTIONS)

test-thorough: $(STAMP) ## the properties of the domain with a thousand examples each, plans over a million tasks, every recorded queue, every statement failing, every obstacle in every table: before a release
	$(BIN)/pytest -n auto -q --hypothesis-profile thorough tests/unit $(PYTEST_OPTIONS)
	PODDISPATCHD_TEST_TASKS=1000000 $(BIN)/pytest -q tests/integration/pod/test_plans.py tests/integration/dispatch/test_plans.py tests/integration/journal/test_history_size.py
	PODDISPATCHD_TEST_THOROUGH=1 $(BIN)/pytest -n auto -q tests/integration/dispatch/test_recorded_order.py \
		tests/integration/recovery/test_failing_statements.py tests/integration/reconcile/test_random_restarts.py \
		tests/integration/dispatch/test_every_table.py tests/integration/imports/test_every_table.py

coverage: $(STAMP) pgbouncer nginx axe ## branch coverage of the package under all tests
	TMPDIR=$(or $(ROOMY_MEMORY),$(TMPDIR),/tmp) $(BIN)/pytest -n $(TEST_WORKERS) --dist worksteal --cov --cov-report=term-missing:skip-covered $(PYTEST_OPTIONS)

# For tests and campaigns behind a pooler, unless it is installed. Without it they fail, and say what to install.
pgbouncer: $(STAMP)
	@PATH="$$PATH:/usr/sbin" command -v pgbouncer > /dev/null || test -x $(VENV)/pgbouncer/usr/sbin/pgbouncer \
		|| sh chaos/fetch_package.sh pgbouncer $(VENV)/pgbouncer \
		|| echo "PgBouncer cannot be had: as root, apt-get install pgbouncer" >&2

# For the test of the status page in Debian's chromium.
axe: $(STAMP)
	@test -d $(VENV)/axe/node_modules/axe-core \
		|| npm install --silent --no-audit --no-fund --prefix $(VENV)/axe axe-core@4.14.1 \
		|| echo "axe-core cannot be had: apt-get install npm" >&2

# For the tests of contrib/nginx, likewise.
nginx: $(STAMP)
	@PATH="$$PATH:/usr/sbin" command -v nginx > /dev/null || test -x $(VENV)/nginx/usr/sbin/nginx \
		|| sh chaos/fetch_package.sh nginx $(VENV)/nginx \
		|| echo "nginx cannot be had: as root, apt-get install nginx" >&2

# As root; a container of Debian with the unit in it: apt-get install debootstrap systemd-container.
test-systemd: $(STAMP) ## the unit under a real systemd, as root (PODDISPATCHD_TEST_SUITE=trixie: of another Debian than bookworm)
	PODDISPATCHD_TEST_SYSTEMD=1 $(BIN)/pytest tests/systemd $(PYTEST_OPTIONS)

# For the Debian that it is built on: its own Python is the one of the package. It needs python3-venv, and none of the
# development environment: that is not for a server.
deb: ## a Debian package in dist/
	/usr/bin/python3 -m venv $(VENV)/pip
	PIP="$(VENV)/pip/bin/python -m pip" sh packaging/build-deb.sh dist

# Strict: a warning, or a link that leads nowhere, fails it. A test builds it, too.
docs: $(STAMP) ## the site of the documentation in dist/docs
	$(BIN)/python -m sphinx -q -W --keep-going -E -b html docs dist/docs
	@echo dist/docs/index.html

references: $(STAMP) ## what is made from the code: man pages, completions, docs/reference, config.yaml.example
	$(BIN)/python -m references

lint: $(STAMP) ## formatting, lint, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(STAMP) ## repair what the formatter and the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## figures of the daemon beside bare ones, in ten minutes (BENCH_OPTIONS, see docs/performance.md)
	$(BIN)/python -m benchmarks $(BENCH_OPTIONS)

bench-full: $(STAMP) ## the same with all samples
	$(BIN)/python -m benchmarks --full $(BENCH_OPTIONS)

growth: $(VENV)/.bench ## curves of costs in docs/growth.svg, in four minutes
	$(BIN)/python -m benchmarks.growth docs/growth.svg

consortium: $(VENV)/.bench ## a year of a large consortium, played and drawn in docs/consortium.svg, in ten minutes
	$(BIN)/python -m benchmarks.consortium docs/consortium.svg

$(VENV)/.bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[bench,demo,dev,push]'
	@touch $@

chaos: $(STAMP) $(if $(findstring --pooler,$(CHAOS_OPTIONS)),pgbouncer) ## the fault campaign (CHAOS_OPTIONS, see docs/chaos.md)
	$(BIN)/python -m chaos $(CHAOS_OPTIONS)

soak: $(STAMP) ## an hour of work with faults, in which nothing may grow (SOAK_OPTIONS, see docs/soak.md)
	$(BIN)/python -m soak $(SOAK_OPTIONS)

# Of what a server installs. A source of vulnerabilities that does not answer is told; nothing is taken for sound then.
audit: $(VENV)/.audit ## insecure patterns, dependencies, known vulnerabilities
	$(BIN)/ruff check --select S poddispatchd
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive poddispatchd --exclude poddispatchd/sandbox
	$(BIN)/deptry .
	$(BIN)/python packaging/vulnerabilities.py constraints.txt

# The version is in the code, where the tool does not look: without it an inventory tells no release from another.
sbom: $(VENV)/.audit ## what a server installs, as CycloneDX, in dist/
	rm -rf $(VENV)/server
	$(PYTHON) -m venv --without-pip $(VENV)/server
	$(BIN)/python -m pip --python $(VENV)/server/bin/python install --quiet --disable-pip-version-check \
		--constraint constraints.txt '.[push]'
	$(VENV)/server/bin/python -c 'import poddispatchd as it; print(f"version = \"{it.__version__}\"")' > $(VENV)/server/version
	sed -e '/^dynamic = /{r $(VENV)/server/version' -e 'd}' pyproject.toml > $(VENV)/server/pyproject.toml
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --pyproject $(VENV)/server/pyproject.toml --output-reproducible --of JSON \
		--output-file dist/poddispatchd.cdx.json $(VENV)/server/bin/python

$(VENV)/.audit: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[audit,demo,dev,push]'
	@touch $@

clean: ## remove .venv and the caches
	rm -rf $(VENV) mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Two hundred imports killed at random moments; the seed can be chosen: make kills SEED=7
SEED ?= 1
kills: $(STAMP) ## two hundred imports killed at random moments (SEED)
	PODDISPATCHD_TEST_KILLS="200 seed $(SEED)" $(BIN)/pytest -n auto tests/integration/imports/test_random_kills.py

# An hour or two. One module: make mutation MUTANTS='poddispatchd.domain.breaker*'
mutation: $(VENV)/.mutation ## changed decisions that no test notices (MUTANTS, see docs/mutation.md)
	$(BIN)/mutmut run $(MUTANTS)
	$(BIN)/mutmut results | grep --invert-match ": not checked$$" || true

$(VENV)/.mutation: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[demo,dev,mutation,push]'
	@touch $@

# Every call of three kinds of import, with seven kinds of failure: 3300 in all, in some eight minutes. Some of each
# kind: make faults CALLS=100 SEED=7
CALLS ?= every
faults: $(STAMP) ## every system call of an import fails in turn (CALLS, SEED)
	PODDISPATCHD_TEST_CALLS="$(CALLS) seed $(SEED)" $(BIN)/pytest -n auto tests/integration/imports/test_failing_calls.py

# Hostile requests and answers, seeded: make fuzz SEED=7 FUZZ_OPTIONS='--requests 1000000'
fuzz: $(STAMP) ## hostile requests and answers (SEED, FUZZ_OPTIONS)
	$(BIN)/python -m fuzz --seed $(SEED) $(FUZZ_OPTIONS)
