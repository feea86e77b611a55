"""A clickhouse-server of the tests' own: free ports, a temporary folder, never the system's service."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAM = shutil.which("clickhouse-server")
_START_S = 60.0


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class ClickHouseServer:
    """A server process in `folder`. `config` is XML that is added to the configuration."""

    def __init__(self, folder: Path, config: str = "", password: str = "", port: int = 0) -> None:
        self.folder = folder
        self.port, self.http_port = port or free_port(), free_port()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "users.xml").write_text(_USERS.format(password=password))
        (folder / "config.xml").write_text(
            _CONFIG.format(folder=folder, port=self.port, http_port=self.http_port, more=config)
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, database: str, **options: str) -> str:
        """The address of a store in this server."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"clickhouse://127.0.0.1:{self.port}/{database}?{query}"

    def start(self) -> None:
        assert PROGRAM, "clickhouse-server is not installed: deploy/setup.sh test"
        command = [PROGRAM, f"--config-file={self.folder / 'config.xml'}"]
        with (self.folder / "stdout").open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def wait(self) -> None:
        """Until it takes connections."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            assert self.process
            assert self.process.poll() is None, self.log()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"clickhouse-server did not start:\n{self.log()}")

    def signal(self, number: int) -> None:
        assert self.process
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text("utf-8", "replace")[-3000:] if path.exists() else "(no log)"


_USERS = """<yandex>
<profiles><default><load_balancing>in_order</load_balancing></default></profiles>
<users><default><password>{password}</password><networks><ip>127.0.0.1</ip></networks>
<profile>default</profile><quota>default</quota></default></users>
<quotas><default/></quotas>
</yandex>
"""

_CONFIG = """<yandex>
<logger><level>warning</level><log>{folder}/server.log</log><errorlog>{folder}/error.log</errorlog>
<size>10M</size><count>1</count></logger>
<listen_host>127.0.0.1</listen_host>
<tcp_port>{port}</tcp_port>
<http_port>{http_port}</http_port>
<path>{folder}/data/</path>
<tmp_path>{folder}/tmp/</tmp_path>
<user_files_path>{folder}/files/</user_files_path>
<format_schema_path>{folder}/formats/</format_schema_path>
<users_config>{folder}/users.xml</users_config>
<default_profile>default</default_profile>
<default_database>default</default_database>
<timezone>UTC</timezone>
<mark_cache_size>67108864</mark_cache_size>
<max_concurrent_queries>100</max_concurrent_queries>
<background_pool_size>2</background_pool_size>
<mlock_executable>false</mlock_executable>
{more}
</yandex>
"""
