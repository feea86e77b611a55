"""All that is fuzzed, by name. Each part is imported only when it is wanted: agent and collector have not the same
libraries."""

from tests.fuzz.subject import Subject

RECEIVERS = (
    *("push", "otlp-profiles", "otlp-profiles-grpc", "otlp-json", "otlp-traces", "otlp-traces-grpc"),
    *("pprof", "folded", "pyroscope", "pyroscope-grpc", "pyroscope-form", "pyroscope-lines"),
)
"""Ways in for samples and spans."""
FILES = ("elf", "go", "eh-frame", "unwind-files", "python-files", "perf-map", "jitdump", "debug-file")
"""Files that processes bring along."""
MEMORY = ("records", "python-names", "kallsyms", "proc", "demangle", "certificate")
"""What is read of the kernel and of processes' memory, and names."""
AGENTS = ("registration", "heartbeat")
"""What agents tell of themselves."""
SUBJECTS = (*RECEIVERS, *AGENTS, *FILES, *MEMORY)


def subject_of(name: str) -> Subject:
    """A subject by its name."""
    if name in RECEIVERS:
        from tests.fuzz import targets

        return targets.subject(name)
    if name in AGENTS:
        from tests.fuzz import agents

        return agents.SUBJECTS[name]()
    if name in FILES:
        from tests.fuzz import files

        return files.SUBJECTS[name]()
    from tests.fuzz import memory

    return memory.SUBJECTS[name]()
