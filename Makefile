# fleetprof: `make up` runs the product here, `make test` runs its tests. Both set up what they need.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ $$(id -u) = 0 ] || echo sudo)

.PHONY: up test setup setup-test bpf proto examples check bench clean

# Only what is set is passed on: `make up FLEETPROF_HTTP=0.0.0.0:8080`, or the same from the environment.
FORWARDED := $(foreach name,FLEETPROF_HTTP FLEETPROF_GRPC FLEETPROF_DATA,$(if $($(name)),$(name)='$($(name))'))

# `exec`, so that Ctrl-C and SIGTERM reach fleetprof itself; it ends with 0 after either.
up: setup
	@exec $(SUDO) env $(FORWARDED) $(BIN)/fleetprof up

# What measures this machine runs alone. The rest runs side by side, what takes longest first, two processes more than
# CPUs since much of it waits; a test that fails there runs once more, alone, as others may have taken the machine
# from it: both results are shown. All groups run, whatever fails.
ALONE := $(addprefix tests/,accuracy)
TOGETHER := $(addprefix tests/,e2e cluster faults kernel ui store unit golden fuzz)
# Python's byte code is kept, whatever the environment says: tests start hundreds of processes.
PYTEST := $(SUDO) env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest

test: setup-test check
	@alone=0 together=0; set -x; \
	  $(PYTEST) $(ALONE) || alone=$$?; \
	  $(PYTEST) $(TOGETHER) -n $$(($$(nproc) + 2)) --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	    || together=$$?; \
	  if [ $$together = 1 ]; then \
	    together=0; $(PYTEST) $(TOGETHER) --last-failed --last-failed-no-failures none || together=$$?; \
	  fi; \
	  exit $$((alone + together))

setup:
	@deploy/setup.sh run

setup-test:
	@deploy/setup.sh test

bpf:
	@$(MAKE) --no-print-directory -C bpf

proto:
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=proto --pyi_out=proto --grpc_python_out=proto \
	  proto/fleetprof/v1/*.proto proto/fleetprof/pprof/*.proto proto/fleetprof/pyroscope/*.proto

# The example settings of deploy/systemd, from the tables of settings.
examples:
	$(BIN)/python deploy/systemd/write_examples.py

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench:
	$(SUDO) $(BIN)/python -m pytest tests/bench -s

clean:
	rm -rf build dist *.egg-info agent/objects .mypy_cache .ruff_cache .pytest_cache
