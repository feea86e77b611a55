"""Mutated real requests against every receiver.

    .venv/bin/python -m tests.fuzz --receiver pprof --inputs 1000000

An input may be refused (Refused, Later) or taken; anything else that is raised, a value or a name that was not
sent, memory that grows past a bound, or an input that takes seconds is a failure. It is written to a file, from
which `--replay FILE` repeats it.
"""
