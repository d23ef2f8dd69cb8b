# The only entry to the project: every verb sets up what it needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
STAMP  := $(VENV)/.installed
BYTECODE := $(VENV)/.bytecode
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SEEDS  ?= 1000
SOAK   ?= 25
KILLS  ?= 20
SOAK_MINUTES ?= 60
FUZZ   ?= 60
# For example --seed 7 --steps 50 --mode cluster|plain|both --keep-going
CHAOS  ?= --keep-going
# A checkout of Valkey, with src/valkey-server built as the yardstick.
SUITE  ?= ../valkey

.PHONY: setup run stop test lint type sim soak fuzz suite kills handovers chaos-sequence bench bench-clusters bench-idle docs house clean compose-check

setup: $(STAMP) $(BYTECODE)

# What a cluster needs to run: no tools of developers.
$(RUNTIME): pyproject.toml constraints.txt setup.py src/slotmesh/__init__.py $(wildcard node/compiled/*.pyx node/compiled/*.pxd)
	@test -d $(VENV) || echo "making a Python environment in $(VENV) ..."
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "installing slotmesh and the libraries it needs there, and compiling the hot path where a C compiler is (once; a minute or so) ..."
	@$(PIP) -e .
	@touch $(RUNTIME)

$(STAMP): $(RUNTIME)
	@echo "installing the tools of developers (tests, linters, type checker; once) ..."
	@$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['dev'], sep='\n')" > $(VENV)/dev.txt
	@$(PIP) -r $(VENV)/dev.txt
	@touch $(STAMP)

# A process that has to compile what it imports needs three times the processor time to start, and where Python may not
# write (PYTHONDONTWRITEBYTECODE, a read-only checkout) every single one would. Only what has changed is compiled.
$(BYTECODE): $(RUNTIME) $(shell find cluster node sentinel tools -name '*.py' -not -path '*/.*')
	@$(BIN)/python -m compileall -q cluster node sentinel tools
	@touch $(BYTECODE)

run: $(BYTECODE)
	@$(BIN)/clusterctl up

stop: $(BYTECODE)
	@$(BIN)/clusterctl down

# Style and types first: they are the quickest to say no.
test: lint type
	@$(BIN)/python -m slotmesh.tools.ensure_stock
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup
	$(BIN)/mypy

sim: setup
	$(BIN)/python -m tests.sim --seeds $(SEEDS)
	$(BIN)/python -m tests.sim.sentinel_run --restarts --seeds $(SEEDS)
	$(BIN)/python -m tests.sim.sentinel_run --restarts --cluster --seeds $$(($(SEEDS) / 5))

# What takes too long for every test run: random histories beside the stock server, an hour of everything with a look at
# memory, a million refused commands with another one, and many seeds.
soak: setup
	@$(BIN)/python -m slotmesh.tools.ensure_stock
	SOAK=$(SOAK) $(BIN)/python -m pytest -n 2 --dist loadfile tests/oracle
	$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES)
	$(BIN)/python -m tests.soak.refusals
	$(BIN)/python -m tests.sim --seeds $(SEEDS)

# Hostile frames, replies and files: so many seconds of new ones for each kind.
fuzz: setup
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ)

suite: setup
	$(BIN)/python -m slotmesh.tools.suite --suite $(SUITE)
	$(BIN)/python -m slotmesh.tools.suite --suite $(SUITE) --cluster-mode

# kill -9 of guarded primaries under pipelined writes: nothing acknowledged may be lost. Wants a machine at rest.
kills: setup
	$(BIN)/python -m tests.support.loaded_kills --kills $(KILLS)

# Planned failovers under writes, guarded and without a cluster: how long nobody writes, and what is lost.
handovers: setup
	$(BIN)/python -m tests.support.handovers --mode cluster
	$(BIN)/python -m tests.support.handovers --mode plain

# Random sequences of faults against real processes: kills, stops, partitions (as root), planned failovers, moves.
chaos-sequence: setup
	$(BIN)/python -m tests.chaos $(CHAOS)

# With a container engine (ENGINE, docker by default): the compose stack under kills, pauses, partitions and restarts.
compose-check: setup
	$(BIN)/python -m slotmesh.tools.compose_check

# What operators wait for: the first OK of a new cluster, moves of slots by redis-cli; beside redis-server.
bench-clusters: setup
	$(BIN)/python -m slotmesh.tools.bench.clusters

# What doing nothing costs: processor time of clusters at rest, beside redis-server's.
bench-idle: setup
	$(BIN)/python -m slotmesh.tools.bench.idle --nodes 6 24

bench: setup
	$(BIN)/python -m slotmesh.tools.bench

docs: setup
	$(BIN)/python -m slotmesh.tools.docs

# Circles of imports, arrows against the order of the rooms, long modules and functions, functions that nothing calls.
house: setup
	@$(BIN)/python -m slotmesh.tools.house

clean:
	rm -rf $(VENV) build dist *.egg-info node/compiled/*.so
