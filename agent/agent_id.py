"""The identity of an installed agent: made once, kept in the state folder."""

import hashlib
import logging
import uuid
from pathlib import Path

from fleetprof.errors import UnavailableError

log = logging.getLogger("fleetprof.agent_id")

MACHINE_ID = Path("/etc/machine-id")
FILE = "agent-id"


def agent_id(state_dir: Path, host: str, machine_id: Path = MACHINE_ID) -> str:
    """The agent's id, 32 hex digits; made from the machine id and the host's name (or at random) once.

    The name counts too: cloned machines share a machine id, and one machine may run agents for several hosts.

    The machine id itself is not sent: it is confidential (machine-id(5)), so a hash made for this purpose
    is. Raises UnavailableError where the state folder cannot be written.
    """
    path = state_dir / FILE
    try:
        if path.exists():
            return path.read_text().strip()
        state_dir.mkdir(parents=True, exist_ok=True)
        made = _from_machine(machine_id, host)
        path.write_text(made + "\n")
    except OSError as error:
        raise UnavailableError(
            f"The agent's state folder {state_dir} cannot be used: {error.strerror}.",
            "Make it writable, or choose another with --state-dir.",
        ) from error
    return made


def _from_machine(machine_id: Path, host: str) -> str:
    try:
        seed = machine_id.read_text().strip()
    except OSError:
        seed = ""
    if not seed:
        log.info("This machine has no machine id; the agent's id is random.")
        return uuid.uuid4().hex
    return hashlib.blake2b(f"{seed} {host}".encode(), digest_size=16, person=b"fleetprof").hexdigest()
