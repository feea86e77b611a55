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

# What samples, measures or kills on this machine runs alone; the rest side by side. Both run, whatever fails.
ALONE := $(addprefix tests/,kernel accuracy e2e cluster faults)
TOGETHER := $(addprefix tests/,unit golden store ui fuzz)

test: setup-test check
	@alone=0 together=0; set -x; \
	  $(SUDO) $(BIN)/python -m pytest $(ALONE) || alone=$$?; \
	  $(SUDO) $(BIN)/python -m pytest $(TOGETHER) -n auto --maxprocesses 4 --dist loadfile || together=$$?; \
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
