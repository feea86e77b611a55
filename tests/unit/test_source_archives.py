"""Uploaded sources: hostile archives harm nobody, and a path that a compiler wrote finds its file or none."""

import argparse
import gzip
import io
import os
import tarfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.config import TABLE, CollectorConfig
from collector.keeping.kept_files import files_there, is_kept, kept_files
from collector.sources import archives
from collector.sources.archives import Of, SourceArchives, best_match
from collector.sources.assemble import open_archives
from collector.sources.commands import add_source_options, run_sources
from collector.sources.unpack import UnpackLimits, clean_path, source_files
from collector.sources.upstream import ASK_AGAIN_S, SourceServers
from fleetprof.errors import InputError
from fleetprof.settings import load_settings
from tests.unit.test_debuginfo_upstream import Upstream, sending, upstream

__all__ = ["upstream"]

SMALL = UnpackLimits(files=3, file_bytes=1000, total_bytes=20_000)


def zipped(*members: tuple[str, bytes]) -> io.BytesIO:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    packed.seek(0)
    return packed


def tarred(*members: tuple[str, bytes], mode: str = "w:gz", **fields: object) -> io.BytesIO:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for field, value in fields.items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(content))
    packed.seek(0)
    return packed


@pytest.mark.parametrize("pack", [zipped, tarred, lambda *m: tarred(*m, mode="w")])
def test_texts_come_out_under_paths_below_the_archive(pack: object) -> None:
    members = [
        ("shop/src/main.c", b"int main();\n"), ("./shop/lib.py", b"x = 1\n"), ("/etc/passwd", b"root"),
        ("../../up.c", b"up"), ("shop/../../up.c", b"up"), ("shop/logo.png", b"\x89PNG\0\0"), ("bad\nname.c", b"x"),
    ]  # fmt: skip
    found = dict(source_files(pack(*members)))  # type: ignore[operator]
    expected = {"shop/src/main.c", "shop/lib.py", "etc/passwd"}
    assert found.keys() - {"bad_name.c", "bad?name.c"} == expected


def test_links_and_devices_are_no_files() -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        packed = tarred(("a/passwd", b""), type=kind, linkname="/etc/passwd")
        assert list(source_files(packed)) == []


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_what_unpacks_to_too_much_is_refused(pack: object) -> None:
    some = [(f"{n}.c", b"a" * 1000) for n in range(3)]
    large = ("large.c", b"a" * 1001)
    assert [path for path, _ in source_files(pack(*some, large), SMALL)] == ["0.c", "1.c", "2.c"]  # type: ignore[operator]
    with pytest.raises(InputError, match="more than 3 files"):
        list(source_files(pack(*some, ("3.c", b"x")), SMALL))  # type: ignore[operator]
    many = [(f"{n}.c", b"\0" * 1000) for n in range(24)]
    with pytest.raises(InputError, match="unpacks to more"):
        list(source_files(pack(*many), SMALL))  # type: ignore[operator]


def test_a_long_stream_of_nothing_ends_early() -> None:
    data = gzip.compress(tarred(("zeros", b"\0" * (1 << 24)), mode="w").getvalue())
    with pytest.raises(InputError, match="unpacks to more"):
        list(source_files(io.BytesIO(data), SMALL))


@given(st.sampled_from([zipped, tarred]), st.data())
def test_damaged_archives_are_refused_in_words(pack: object, data: st.DataObject) -> None:
    whole = bytearray(pack(("a/b.c", b"text" * 30), ("c.py", b"x = 1")).getvalue())  # type: ignore[operator]
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    with suppress(InputError):
        for path, content in source_files(io.BytesIO(cut), SMALL):
            assert clean_path(path) == path
            assert len(content) <= SMALL.file_bytes


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/build/shop-1.4/src/cart/total.cc", "shop/src/cart/total.cc"),
        ("./src/cart/total.cc", "shop/src/cart/total.cc"), ("/build/other/total.cc", ""),
        ("C:\\build\\src\\cart\\total.cc", "shop/src/cart/total.cc"),
        ("/x/util.py", "util.py"), ("/a/same/one.c", ""), ("/z/b/same/one.c", "b/same/one.c"), ("", ""), ("/", ""),
    ],
)  # fmt: skip
def test_the_file_that_is_most_alike_is_found(path: str, found: str) -> None:
    members = [
        "shop/src/cart/total.cc", "shop/src/tax/total.cc", "util.py", "a2/same/one.c", "b/same/one.c",
        "c/same/one.c",
    ]  # fmt: skip
    index: dict[str, list[str]] = {}
    for member in members:
        index.setdefault(member.rpartition("/")[2], []).append(member)
    assert best_match(path, index) == found


def test_kept_archives_are_replaced_listed_removed_and_give_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, of = SourceArchives(tmp_path / "sources"), Of(service="shop", version="1")
    with pytest.raises(InputError, match="no source files"):
        kept.keep(of, "empty.zip", [])
    assert kept.all() == []
    kept.keep(of, "a.zip", [("src/a.c", b"one"), ("src/a.c", b"twice")])
    assert (kept.all()[0].files, kept.find(of, "/b/src/a.c").data) == (1, b"one")  # type: ignore[union-attr]
    kept.keep(of, "b.zip", [("src/a.c", b"two")])
    found = kept.find(of, "/b/src/a.c")
    assert found
    assert (found.data, found.path, found.archive, len(kept.all())) == (b"two", "src/a.c", "b.zip", 1)
    assert kept.find(Of(service="shop"), "/b/src/a.c") is None
    for wrong in (Of(), Of(service="x", build_id="abcdef0123"), Of(version="1"), Of(build_id="not hex!")):
        with pytest.raises(InputError):
            kept.keep(wrong, "c.zip", [("src/a.c", b"")])
    monkeypatch.setattr(archives, "MAX_FOLDER_BYTES", 500)
    for path in (tmp_path / "sources").glob("*.zip"):
        os.utime(path, (time.time() - 100,) * 2)
    build = Of(build_id="abcdef0123456789")
    kept.keep(build, "big.zip", [("src/a.c", os.urandom(2000))])
    assert [one.of for one in kept.all()] == [build]
    assert kept.remove(build)
    assert not kept.remove(build)
    assert list((tmp_path / "sources").iterdir()) == []


def test_the_command_keeps_lists_and_removes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_source_options(parser)
    config = load_settings(TABLE, CollectorConfig, {"data": str(tmp_path)}, {}).config
    packed = tmp_path / "src.zip"
    packed.write_bytes(zipped(("shop/a.c", b"text")).getvalue())
    of = ["--service", "shop", "--version", "2"]
    for arguments in (["upload", str(packed), *of], ["list"], ["remove", *of]):
        assert run_sources(parser.parse_args(arguments), config) == 0
    said = capsys.readouterr().out
    assert said.startswith("shop 2: 1 files kept")
    assert "src.zip" in said
    with pytest.raises(InputError, match="No sources of shop 2"):
        run_sources(parser.parse_args(["remove", *of]), config)
    with pytest.raises(InputError, match="cannot be read"):
        run_sources(parser.parse_args(["upload", str(tmp_path / "none.zip"), *of]), config)


def test_backups_hold_uploaded_sources(tmp_path: Path) -> None:
    open_archives(tmp_path).keep(Of(service="shop"), "a.zip", [("src/a.c", b"one")])
    ((kept,),) = kept_files(tmp_path)
    opened = kept.open()
    assert opened
    assert is_kept(kept.name)
    assert files_there(tmp_path) == [tmp_path / kept.name]
    restored = tmp_path / "restored" / kept.name
    restored.parent.mkdir(parents=True)
    restored.write_bytes(opened.read())
    found = open_archives(tmp_path / "restored").find(Of(service="shop"), "/b/src/a.c")
    assert found
    assert found.data == b"one"
    assert not is_kept("sources/../alerts.toml")


def test_servers_are_asked_once_for_what_they_have_and_have_not(upstream: Upstream) -> None:
    now_s = [0.0]
    servers = SourceServers([upstream.url + "/"], lambda: now_s[0])
    upstream.answer = sending(b"int main();\n")
    for _ in range(2):
        fetched = servers.find("abcdef0123", "/usr/src/a b/main.c")
        assert fetched
        assert (fetched.data, fetched.server) == (b"int main();\n", "127.0.0.1")
    assert upstream.asked == ["/buildid/abcdef0123/source/usr/src/a%20b/main.c"]
    assert servers.find("abcdef0123", "relative/main.c") is None
    upstream.answer = lambda request: request.send_error(404)
    for _ in range(2):
        assert servers.find("abcdef0123", "/none.c") is None
    assert len(upstream.asked) == 2
    now_s[0] += ASK_AGAIN_S
    upstream.answer = sending(b"x" * (5 << 20))
    assert servers.find("abcdef0123", "/none.c") is None
    assert len(upstream.asked) == 3
