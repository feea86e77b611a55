"""A clickhouse-server of the tests' own, with the configuration of deploy/clickhouse: free ports, a temporary
folder, never the system's service."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

DEPLOY = Path(__file__).parents[2] / "deploy" / "clickhouse"
PROGRAM = shutil.which("clickhouse-server")
PASSWORD = "it's a: s/ecret@"
_START_S = 60.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class ClickHouseServer:
    """A server process in `folder`. `config` is further configuration (XML), `environment` what it refers to."""

    def __init__(
        self, folder: Path, config: str = "", environment: Mapping[str, str] | None = None, port: int = 0
    ) -> None:
        self.folder = folder
        self.port, self.http_port = port or free_port(), free_port()
        self.environment = dict(environment or {})
        shutil.copytree(DEPLOY / "server", folder, dirs_exist_ok=True)
        (folder / "config.d" / "fleetprof-tls.xml").unlink()
        (folder / "config.d" / "test.xml").write_text(config or "<yandex/>")
        (folder / "users.xml").write_text(_USERS)
        (folder / "config.xml").write_text(
            _CONFIG.format(folder=folder, port=self.port, http_port=self.http_port)
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.killed_s = 0.0
        """When it was killed last, by the monotonic clock."""
        self.start()

    def url(self, database: str, **options: str) -> str:
        """The address of a store in this server."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"clickhouse://{login()}@127.0.0.1:{self.port}/{database}?{query}"

    def start(self) -> None:
        assert PROGRAM, "clickhouse-server is not installed: deploy/setup.sh test"
        command = [PROGRAM, f"--config-file={self.folder / 'config.xml'}"]
        environment = {**os.environ, "FLEETPROF_STORE_PASSWORD": PASSWORD, **self.environment}
        with (self.folder / "stdout").open("ab") as output:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait(self, port: int = 0) -> None:
        """Until it takes connections, or does on another port."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            assert self.process
            assert self.process.poll() is None, self.log()
            try:
                socket.create_connection(("127.0.0.1", port or self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"clickhouse-server did not start:\n{self.log()}")

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.killed_s = time.monotonic()

    def log(self) -> str:
        """The ends of what it wrote."""
        paths = (self.folder / "server.log", self.folder / "stdout")
        return "\n".join(path.read_text("utf-8", "replace")[-3000:] for path in paths if path.exists())


def login() -> str:
    """User and password of an address."""
    return f"fleetprof:{quote(PASSWORD, safe='')}"


# What the package's own files hold: deploy/clickhouse adds to these.
_USERS = """<yandex>
<profiles><default/></profiles>
<users><default><password></password><networks><ip>127.0.0.1</ip></networks>
<profile>default</profile><quota>default</quota></default></users>
<quotas><default/></quotas>
</yandex>
"""

_CONFIG = """<yandex>
<logger><level>warning</level><log>{folder}/server.log</log><errorlog>{folder}/error.log</errorlog>
<size>10M</size><count>1</count></logger>
<tcp_port>{port}</tcp_port>
<http_port>{http_port}</http_port>
<path>{folder}/data/</path>
<tmp_path>{folder}/tmp/</tmp_path>
<user_files_path>{folder}/files/</user_files_path>
<format_schema_path>{folder}/formats/</format_schema_path>
<users_config>{folder}/users.xml</users_config>
<default_profile>default</default_profile>
<default_database>default</default_database>
<background_pool_size>2</background_pool_size>
<query_log><database>system</database><table>query_log</table></query_log>
</yandex>
"""
