"""Four clickhouse-servers in two shards of two replicas, and the ZooKeeper that they need, on loopback."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

from tests.store.clickhouse_server import DEPLOY, ClickHouseServer, free_port, login

CLUSTER = "fleetprof"
JAVA = shutil.which("java")
_JARS = "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar"
SESSION_S = 3.0
"""After this time ZooKeeper takes a server for dead; one that is back before waits 10 s before it looks again."""

_START_S = 60.0


class ZooKeeper:
    """One ZooKeeper in `folder`."""

    def __init__(self, folder: Path, session_s: float) -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "zoo.cfg").write_text(
            f"tickTime={int(100 * session_s)}\ndataDir={folder}/data\nclientPort={self.port}\n"
            "clientPortAddress=127.0.0.1\nadmin.enableServer=false\nmaxClientCnxns=0\nforceSync=no\n"
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert JAVA, "java is not installed: deploy/setup.sh test"
        command = [JAVA, "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", _JARS,
                   "-Dzookeeper.log.dir=" + str(self.folder),
                   "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(self.folder / "zoo.cfg")]  # fmt: skip
        with (self.folder / "stdout").open("ab") as output:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def wait(self) -> None:
        """Until it serves: it takes connections earlier, and a server's first ON CLUSTER crashes without it."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            assert self.process
            assert self.process.poll() is None, (self.folder / "stdout").read_text()[-2000:]
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as asked:
                asked.sendall(b"srvr")
                if b"Mode:" in asked.recv(4096):
                    return
            time.sleep(0.02)
        raise AssertionError("ZooKeeper did not start")

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


class Servers:
    """The cluster: `nodes[shard][replica]`."""

    def __init__(self, folder: Path, session_s: float = SESSION_S) -> None:
        """`session_s`: after which ZooKeeper takes a server for dead that does not say anything."""
        self.session_s = session_s
        self.zookeeper = ZooKeeper(folder / "zookeeper", session_s)
        self.zookeeper.wait()
        ports = [[free_port() for _ in range(2)] for _ in range(2)]
        self.nodes = [
            [
                ClickHouseServer(
                    folder / f"{shard}-{replica}",
                    self._config(ports),
                    _environment(shard, replica),
                    ports[shard][replica],
                )
                for replica in range(2)
            ]
            for shard in range(2)
        ]

    @property
    def all(self) -> list[ClickHouseServer]:
        return [node for shard in self.nodes for node in shard]

    def wait(self) -> None:
        for node in self.all:
            node.wait()

    def url(self, database: str, first: int = 0) -> str:
        """The address of a store in this cluster, with all servers; `first` is tried first."""
        ports = [node.port for node in self.all]
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports[first:] + ports[:first])
        return f"clickhouse://{login()}@{hosts}/{database}?cluster={CLUSTER}"

    def start_again(self) -> None:
        """Start what was killed."""
        if not self.zookeeper.process:
            self.zookeeper.start()
            self.zookeeper.wait()
        dead = [node for node in self.all if not node.process]
        for node in dead:
            time.sleep(max(0.0, node.killed_s + self.session_s + 0.5 - time.monotonic()))
            node.start()
        self.wait()

    def stop(self) -> None:
        for node in self.all:
            node.kill()
        self.zookeeper.kill()

    def _config(self, ports: list[list[int]]) -> str:
        """deploy/clickhouse's cluster, with loopback and its ports for the hosts."""
        text = (DEPLOY / "cluster" / "config.d" / "fleetprof-cluster.xml").read_text()
        for shard, replicas in enumerate(ports, 1):
            for replica, port in enumerate(replicas, 1):
                found = rf"<host>clickhouse-{shard}-{replica}\.example</host>\s*<port>9000</port>"
                text, count = re.subn(found, f"<host>127.0.0.1</host><port>{port}</port>", text)
                assert count == 1
        for old, new in (
            ("zookeeper-1.example", "127.0.0.1"),
            ("<port>2181</port>", f"<port>{self.zookeeper.port}</port>"),
            ("<interserver_http_port>9009<", f"<interserver_http_port>{free_port()}<"),
            ("<session_timeout_ms>10000<", f"<session_timeout_ms>{int(1000 * self.session_s)}<"),
        ):
            assert old in text
            text = text.replace(old, new)
        return text


def _environment(shard: int, replica: int) -> dict[str, str]:
    return {
        "FLEETPROF_SHARD": str(shard + 1),
        "FLEETPROF_REPLICA": str(replica + 1),
        "FLEETPROF_HOST": "127.0.0.1",
    }


def usable() -> bool:
    """Whether this machine has what the cluster needs."""
    return bool(
        JAVA and shutil.which("clickhouse-server") and os.path.exists("/usr/share/java/zookeeper.jar")
    )
