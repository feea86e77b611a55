"""Static files: addresses that change with the content, caching, compression, completeness."""

import gzip
import re
from pathlib import Path

import pytest
from flask import Flask

from query_ui.assets import ROOT, Assets, create_static


@pytest.fixture
def assets() -> Assets:
    return Assets()


def test_current_version_is_kept_for_good_and_revalidates(assets: Assets) -> None:
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(create_static(assets))
    client = app.test_client()
    address = assets.url("js/explore.js")
    answer = client.get(address, headers={"Accept-Encoding": "gzip"})
    assert "immutable" in answer.headers["Cache-Control"]
    assert gzip.decompress(answer.data) == (ROOT / "js/explore.js").read_bytes()
    assert client.get(address).data == (ROOT / "js/explore.js").read_bytes()
    again = client.get(address, headers={"Accept-Encoding": "gzip", "If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304
    old = client.get("/static/0123/js/explore.js")
    assert old.status_code == 200
    assert old.headers["Cache-Control"] == "no-cache"


def test_nothing_outside_the_folder_is_served(assets: Assets) -> None:
    app = Flask(__name__, static_folder=None)
    app.register_blueprint(create_static(assets))
    for name in ("../app.py", "js/../../app.py", "%2e%2e/app.py", "/etc/passwd"):
        address = f"/static/{assets.version}/{name}"
        assert app.test_client().get(address, follow_redirects=True).status_code == 404


def test_version_follows_content(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("1")
    first = Assets(tmp_path).version
    assert Assets(tmp_path).version == first
    (tmp_path / "a.js").write_text("2")
    assert Assets(tmp_path).version != first
    with pytest.raises(KeyError):
        Assets(tmp_path).url("b.js")


def test_modules_import_only_files_that_are_there() -> None:
    for path in (ROOT / "js").rglob("*.js"):
        for name in re.findall(r"^import [^;]*?'([^']+)'", path.read_text(), re.M):
            assert (path.parent / name).resolve().is_file(), f"{path.name} imports {name}"


def test_every_colour_token_that_is_used_is_defined() -> None:
    defined = set(re.findall(r"^\s*(--[\w-]+):", (ROOT / "css/tokens.css").read_text(), re.M))
    sources = [*(ROOT / "css").glob("*.css"), *(ROOT / "js").rglob("*.js")]
    used = {
        name for path in sources for name in re.findall(r"(?:var\(|')(--[a-z][\w-]*)[)']", path.read_text())
    }
    assert used
    assert used <= defined


def test_nothing_is_loaded_from_elsewhere() -> None:
    for path in [
        *(ROOT / "css").glob("*.css"),
        *(ROOT / "js").rglob("*.js"),
        *(ROOT.parent / "templates").glob("*"),
    ]:
        for address in re.findall(r"https?://[^\s'\"]+", path.read_text()):
            assert address.startswith("http://www.w3.org/"), f"{path.name}: {address}"
