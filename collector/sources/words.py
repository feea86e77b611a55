"""What is missing in a listing, and what to do about it: a sentence or two each."""

import shlex

from collector.query.model import Query
from collector.sources.model import Notice, SourceListing
from fleetprof.frames import FrameKind

_LANGUAGES = {FrameKind.PYTHON: "Python", FrameKind.JVM: "Java", FrameKind.NODE: "JavaScript"}
_NOT_MEASURED = "values are of the whole function."


def about_lines(query: Query, listing: SourceListing, problem: Notice | None) -> Notice | None:
    """Why there are no values by line; None where nothing is missing."""
    kind = listing.frame.kind
    if not listing.own:
        return Notice(
            "The function has no time of its own in this selection: what it spends is in what it calls."
        )
    if problem or listing.builds:
        return problem
    if kind in _LANGUAGES:
        return Notice(f"Lines of {_LANGUAGES[kind]} functions are not measured: {_NOT_MEASURED}")
    if kind is FrameKind.KERNEL:
        return Notice(f"Lines of the kernel are not measured: {_NOT_MEASURED}")
    if query.selection.name != "cpu":
        return Notice("Only CPU time is measured by line: choose the type cpu.")
    return Notice(
        "Agents did not send where inside this function the time was spent. Set source_lines = 200 in agent.toml "
        "on hosts that matter and restart their agents; windows from then on have lines."
    )


def about_text(listing: SourceListing, versions: list[tuple[str, str]], asks_servers: bool) -> Notice:
    """Why there is no text, and how it can be had."""
    service = next((name for name, _ in versions if name), "")
    version = next((version for name, version in versions if name == service and version), "")
    of = ["--service", service, *(["--version", version] if version else [])]
    command = shlex.join(["fleetprof-collector", "sources", "upload", "FILE.zip", *of])
    if not service:
        command = f"fleetprof-collector sources upload FILE.zip --build-id {listing.build_id}"
    asked = "No debuginfod server has" if asks_servers else "Nothing here has"
    servers = (
        "Upload" if asks_servers else "Name a debuginfod server that has it (debuginfod_urls), or upload"
    )
    return Notice(f"{asked} the text of {listing.file}. {servers} the sources:", command)
