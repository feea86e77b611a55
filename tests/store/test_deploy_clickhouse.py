"""The files of deploy/clickhouse: all store tests run on them; here is what is left, TLS and the README."""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from collector.certificates import write_certificates
from collector.store.address import parse_server_address
from collector.store.errors import StoreAway
from collector.store.open import open_store
from tests.store.clickhouse_server import DEPLOY, ClickHouseServer, free_port, login

pytestmark = pytest.mark.store


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("certificates")
    write_certificates(folder, ["localhost", "127.0.0.1"], 1)
    return folder


@pytest.fixture(scope="module")
def secure_port(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[int]:
    """The TLS port of a server with deploy/clickhouse's fleetprof-tls.xml."""
    port = free_port()
    text = (DEPLOY / "server" / "config.d" / "fleetprof-tls.xml").read_text()
    for old, new in (
        ("<tcp_port_secure>9440<", f"<tcp_port_secure>{port}<"),
        (">/etc/clickhouse-server/server.crt<", f">{certificates}/collector.pem<"),
        (">/etc/clickhouse-server/server.key<", f">{certificates}/collector.key<"),
    ):
        assert old in text
        text = text.replace(old, new)
    server = ClickHouseServer(tmp_path_factory.mktemp("secure"), text)
    server.wait(port)
    yield port
    server.kill()


def test_tls(secure_port: int, certificates: Path) -> None:
    address = f"clickhouse://{login()}@localhost:{secure_port}/safe?secure=1&ca={certificates}/ca.pem"
    store = open_store(address)
    assert store.query(("SELECT currentDatabase() AS d", {}))["d"].tolist() == ["safe"]
    store.close()


def test_tls_with_an_authority_that_is_not_the_servers(secure_port: int, tmp_path: Path) -> None:
    write_certificates(tmp_path, ["localhost"], 1)
    address = f"clickhouse://{login()}@localhost:{secure_port}/safe?secure=1&ca={tmp_path}/ca.pem"
    with pytest.raises(StoreAway, match=r"cannot agree on TLS: .*certificate"):
        open_store(address)


def test_addresses_of_the_documentation(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("secret\n")
    found = re.findall(r'store = "(clickhouse:[^"]+)"', (DEPLOY / "README.md").read_text())
    assert len(found) == 3
    for text in found:
        address = parse_server_address(re.sub(r"/etc/fleetprof/[\w.-]+", f"{tmp_path}/file", text), {})
        assert (address.user, address.database) == ("fleetprof", "fleetprof")
        assert address.password == ("" if address.secure else "secret")
        assert address.cluster in ("", "fleetprof")


def test_configurations_name_the_packages_files() -> None:
    for path in DEPLOY.rglob("*.xml"):
        assert ElementTree.parse(path).getroot().tag == "yandex"
