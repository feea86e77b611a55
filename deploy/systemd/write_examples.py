"""Writes agent.toml, collector.toml and the tables in ../README.md from the tables of settings: `make examples`.

All settings stand there with their meaning. Those that every host needs are set; the others are commented
out at their default.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.config import TABLE as AGENT_TABLE
from collector.config import TABLE as COLLECTOR_TABLE
from fleetprof.settings import Setting, settings_markdown

HERE = Path(__file__).parent

AGENT_HEAD = """\
# The agent's settings; the agent reads them when it starts (systemctl restart fleetprof-agent).
# In force, with where each value came from: fleetprof-agent run --print-config
# With TLS, the files are those of `fleetprof-collector certificates`:
#   tls_ca = "/etc/fleetprof/tls/ca.pem"
#   tls_certificate = "/etc/fleetprof/tls/agent.pem"
#   tls_key = "/etc/fleetprof/tls/agent.key"
"""
COLLECTOR_HEAD = """\
# Settings of the collector and the web UI, read when they start (systemctl restart fleetprof-collector).
# In force, with where each value came from: fleetprof-collector run --print-config
# With TLS, which every network that is not your own needs:
#   tls_certificate = "/etc/fleetprof/tls/collector.pem"
#   tls_key = "/etc/fleetprof/tls/collector.key"
#   tls_client_ca = "/etc/fleetprof/tls/ca.pem"
# Alerts: alert_rules names a file or a folder. `systemctl reload fleetprof-collector` reads it again, and
# takes into use what retention_* and disk_* say.
"""


def example(head: str, table: Sequence[Setting], values: Mapping[str, str]) -> str:
    """A configuration file: `values` (name → as a person writes it) are set, all others commented out."""
    return head + "".join("\n" + _entry(setting, values.get(setting.name)) for setting in table)


def _entry(setting: Setting, value: str | None) -> str:
    words = f"{setting.help} Takes {setting.allowed}."
    about = textwrap.fill(words, 110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    if value is None:
        return f"{about}\n#{setting.name} = {setting.kind.to_toml(setting.default_value)}\n"
    assert setting.kind.from_text
    return f"{about}\n{setting.name} = {setting.kind.to_toml(setting.kind.from_text(value))}\n"


def examples() -> dict[Path, str]:
    """What each file should hold."""
    agent = example(AGENT_HEAD, AGENT_TABLE, {"collector": "127.0.0.1:4040"})
    on_all = {"grpc": "0.0.0.0:4040", "data": "/var/lib/fleetprof-collector"}
    collector = example(COLLECTOR_HEAD, COLLECTOR_TABLE, on_all)
    readme = HERE.parent / "README.md"
    return {
        HERE / "agent.toml": agent,
        HERE / "collector.toml": collector,
        readme: documented(readme.read_text()),
    }


def documented(text: str) -> str:
    """deploy/README.md with its tables of settings as they are now: the agent's, then the collector's."""
    tables = iter((settings_markdown(AGENT_TABLE), settings_markdown(COLLECTOR_TABLE)))
    return re.sub(r"(?m)(?:^\| Setting \|.*\n)(?:^\|.*\n)+", lambda _: next(tables), text)


if __name__ == "__main__":
    for path, text in examples().items():
        path.write_text(text)
