"""Each mistake in TLS files gets one message that names the file and what is wrong with it."""

import contextlib
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from agent.tls import own_problem
from collector.certificates import Validity, make_authority, write_certificates
from collector.server_tls import ServerCertificates
from fleetprof.certificate_dates import validity_s
from fleetprof.errors import InputError
from fleetprof.tls import TlsFiles, certificate_validity, read_files, validities
from tests.unit.tls_files import FUTURE, PAST, VALID, Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path / "ours")


def test_good_files_are_read_as_they_are(authority: Authority) -> None:
    files = authority.agent()
    contents = read_files(files)
    assert contents.ca == authority.ca.read_bytes()
    assert files.key
    assert contents.key == files.key.read_bytes()
    assert own_problem(files) == ""


def test_validity_is_what_the_certificate_says(authority: Authority) -> None:
    files = authority.server(host="collector.lan")
    assert files.certificate
    validity = certificate_validity(files.certificate)
    assert validity.not_after_s == int(VALID.end.timestamp())
    assert [found.not_before_s for found in validities(authority.ca)] == [int(VALID.start.timestamp())]
    assert validity.problem(VALID.end.timestamp() - 1) == ""
    assert "expired on" in validity.problem(VALID.end.timestamp() + 1)
    assert "not valid before" in validity.problem(VALID.start.timestamp() - 1)


DATES = st.datetimes(datetime(1950, 1, 1), datetime(9999, 12, 30)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)


@given(st.tuples(DATES, DATES).filter(lambda dates: dates[0] < dates[1]))
def test_dates_of_any_century_are_read(dates: tuple[datetime, datetime]) -> None:
    """RFC 5280 writes years to 2049 with two digits, later ones with four."""
    certificate = make_authority(Validity(*dates)).certificate
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert validity_s(der) == (dates[0].timestamp(), dates[1].timestamp())


DER = make_authority(VALID).certificate.public_bytes(serialization.Encoding.DER)


@given(st.integers(0, len(DER) - 1), st.integers(0, 255), st.integers(0, len(DER)))
def test_a_damaged_certificate_is_refused_or_read(place: int, byte: int, length: int) -> None:
    """Never anything but ValueError."""
    damaged = bytearray(DER)
    damaged[place] = byte
    with contextlib.suppress(ValueError):
        validity_s(bytes(damaged[:length]))


def encrypted(authority: Authority) -> TlsFiles:
    files = authority.agent()
    assert files.key
    files.key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    return files


def swapped(authority: Authority) -> TlsFiles:
    one, other = authority.agent("one"), authority.agent("other")
    return TlsFiles(one.ca, one.certificate, other.key)


def damaged(authority: Authority) -> TlsFiles:
    files = authority.agent()
    assert files.certificate
    files.certificate.write_bytes(files.certificate.read_bytes()[:200])
    return files


def folder_as_key(authority: Authority) -> TlsFiles:
    files = authority.agent()
    return TlsFiles(files.ca, files.certificate, authority.folder)


BAD: list[tuple[Callable[[Authority], TlsFiles], str]] = [
    (lambda a: TlsFiles(ca=a.folder / "no.pem"), r"no\.pem cannot be read: No such file"),
    (lambda a: TlsFiles(ca=a.agent().key), r"agent\.key holds no certificate"),
    (lambda a: TlsFiles(None, a.agent().certificate, None), r"agent\.pem is set without its key"),
    (lambda a: TlsFiles(None, None, a.agent().key), r"agent\.key is set without its certificate"),
    (lambda a: TlsFiles(None, a.agent().key, a.agent().key), r"agent\.key cannot be understood"),
    (folder_as_key, r"cannot be read: Is a directory"),
    (swapped, r"other\.key does not belong to the certificate .*one\.pem"),
    (damaged, r"agent\.(pem|key) cannot be understood"),
    (encrypted, r"agent\.key is protected by a passphrase"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_a_mistake_is_named(
    authority: Authority, make: Callable[[Authority], TlsFiles], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_files(make(authority))
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_dates_of_the_agents_own_files(tmp_path: Path) -> None:
    ours, old = Authority.make(tmp_path / "ours"), Authority.make(tmp_path / "old", PAST)
    assert "expired" in own_problem(ours.agent("a", PAST))
    assert "this agent's own" in own_problem(ours.agent("a", PAST))
    assert "not valid before" in own_problem(ours.agent("b", FUTURE))
    assert "authority that this agent trusts" in own_problem(TlsFiles(ca=old.ca))


def test_a_collector_does_not_start_with_what_agents_would_refuse(tmp_path: Path) -> None:
    ours, old = Authority.make(tmp_path / "ours"), Authority.make(tmp_path / "old", PAST)
    good = ours.server()
    ServerCertificates(good)
    with pytest.raises(InputError, match="expired on"):
        ServerCertificates(ours.server("x", validity=PAST))
    with pytest.raises(InputError, match="not valid before"):
        ServerCertificates(ours.server("y", validity=FUTURE))
    with pytest.raises(InputError, match="expired on"):
        ServerCertificates(TlsFiles(old.ca, good.certificate, good.key))
    with pytest.raises(InputError, match="tls_certificate is not set"):
        ServerCertificates(TlsFiles(ca=ours.ca))


def test_made_certificates_fit_and_are_never_replaced_silently(tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = write_certificates(out, ["collector.lan", "10.0.0.1", "::1"], 30)
    assert {path.name for path in files} == {
        f"{name}.{kind}" for name in ("ca", "collector", "agent") for kind in ("pem", "key")
    }
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files if path.suffix == ".key")
    made = x509.load_pem_x509_certificate((out / "collector.pem").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["collector.lan", "10.0.0.1", "::1"]
    validity = certificate_validity(out / "collector.pem")
    expected = (datetime.now(UTC) + timedelta(days=30)).timestamp()
    assert abs(validity.not_after_s - expected) < 600
    before = {path: path.read_bytes() for path in files}
    with pytest.raises(InputError, match="exists already"):
        write_certificates(out, ["collector.lan"], 30)
    assert {path: path.read_bytes() for path in files} == before
    write_certificates(out, ["collector.lan"], 30, overwrite=True)
    kept = {path.name for path in files if path.read_bytes() == before[path]}
    assert kept == {"ca.pem", "ca.key"}, "the authority stays, so that agents still trust the renewed ones"


@pytest.mark.parametrize(
    ("hosts", "days", "message"),
    [
        ([], 30, "No host"),
        (["bad host"], 30, "neither a host name"),
        (["-x.lan"], 30, "neither a host name"),
        (["a..b"], 30, "neither a host name"),
        (["ok"], 0, "valid for 0 days"),
        (["ok"], 99_999, "valid for 99999 days"),
    ],
)
def test_certificates_of_nothing(tmp_path: Path, hosts: list[str], days: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_certificates(tmp_path / "out", hosts, days)
    assert not (tmp_path / "out").exists()
