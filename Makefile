# Each target makes its own virtual environment where there is none.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_SECONDS ?= 60
RECORD_ROOT ?= data

# pip leaves the packages uncompiled (below), so that the first import compiles what is used: and must be allowed to keep it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: coverage fuzz bench-harvest bench-market demo record test lint bench bench-storage bench-features campaign clean bench-archive bench-space bench-access bench-tables

$(VENV)/.installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "no virtual environment: install Python 3.11 or newer with its venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## a minute of everything, without a network
	$(BIN)/tape demo --seconds $(DEMO_SECONDS)

record: $(VENV)/.installed ## the same against the live venues, until Ctrl-C
	@echo "Recording to $(RECORD_ROOT) until Ctrl-C."
	@$(BIN)/poly-record --root $(RECORD_ROOT) & poly=$$!; \
	  trap 'kill $$poly 2>/dev/null; wait $$poly' EXIT INT TERM; \
	  $(BIN)/cex-record --root $(RECORD_ROOT)

# Whole programs, mostly in processes of their own, which coverage does not trace; those that it does would take more than twice as long.
WHOLE := tests/flow tests/faults tests/conformance tests/deploy
# In two runs: what tests leave open in a process adds up.
test: $(VENV)/.installed ## what CI runs
	$(BIN)/python -m pytest -q -n 4 --dist worksteal $(WHOLE)
	$(BIN)/python -m pytest -q -n 4 --dist worksteal $(addprefix --ignore=,$(WHOLE))

coverage: $(VENV)/.installed ## what the tests in one process reach, and what no test does; the tracer takes half as long again
	$(BIN)/python -m pytest -q -n 4 --dist worksteal $(addprefix --ignore=,$(WHOLE)) --cov --cov-report=term:skip-covered

fuzz: $(VENV)/.installed ## 200,000 mutated frames a decoder; without the tracer of coverage, which takes five times as long
	TAPE_FUZZ=$(or $(TAPE_FUZZ),200000) $(BIN)/python -m pytest -q -n 2 -m "fuzz and not long"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed ## frames a second beside the floor and beside cryptofeed, in one run
	$(BIN)/python -m benchmarks

bench-storage: $(VENV)/.installed ## how small tick Parquet is, and how fast an hour of it is read
	$(BIN)/python -m benchmarks.storage

bench-features: $(VENV)/.installed ## what OFI, CVD, z-scores and the rest cost for each trade and book update, beside pandas
	$(BIN)/python -m benchmarks.features

bench-harvest: $(VENV)/.installed ## a day of ofi-record against the simulated market and its report; the same with defects, each of which must be told
	$(BIN)/python -m benchmarks.harvest
	$(BIN)/python -m benchmarks.harvest --plant

bench-archive: $(VENV)/.installed ## how small tapes become, and what merging a day of ticks costs
	$(BIN)/python -m benchmarks.archive

bench-space: $(VENV)/.installed ## how much disk a reader needs for a week of windows
	$(BIN)/python -m benchmarks.space

bench-access: $(VENV)/.installed ## reading over SSH beside scp, sshfs, rclone and paramiko, 50 ms away
	$(BIN)/python -m benchmarks.access

bench-market: $(VENV)/.installed ## the whole market in one recorder, every row compared with what the venue sent
	$(BIN)/python -m benchmarks.market

bench-tables: $(VENV)/.installed ## rows a second and bytes a row in each table store; the search for what is missing; a clean-up beside inserts
	$(BIN)/python -m benchmarks.tables

campaign: $(VENV)/.installed ## the long forms: a thousand kills, 200,000 mutated frames a decoder
	$(BIN)/python -m pytest -q -m long

clean:
	rm -rf $(VENV) .venv-* demo
