"""Damaged inputs for everything that reads what others write: receivers, and what the agent reads of processes.

    .venv/bin/python -m tests.fuzz --subject pprof --subject elf --inputs 1000000 --processes 2

An input may be refused or taken; anything else that is raised, a value or a name that was not sent, memory or CPU
time past a bound, or the end of the process is a finding: the input is kept in a file, and `--subject NAME --replay
FILE` repeats it. Results are added up in a file, so that a run that was ended goes on; `--table` shows them. Call
frame information is also fed to the builder in C, with sanitizers: `python -m tests.fuzz.sanitized`.

What once broke a reader stays in `corpus`, as subject--what.
"""
