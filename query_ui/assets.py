"""Static files under a path that names their content, so that browsers may keep them for good.

The whole tree has one version (a hash), because ES modules import each other by relative paths: all of them
then change their address together.
"""

import gzip
import hashlib
import mimetypes
from pathlib import Path

from flask import Blueprint, Response, abort, request

ROOT = Path(__file__).parent / "static"
COMPRESSED = (".js", ".css", ".svg")
_FOREVER = "public, max-age=31536000, immutable"


class Assets:
    """The static files, read once."""

    def __init__(self, root: Path = ROOT) -> None:
        files = sorted(path for path in root.rglob("*") if path.is_file())
        self._files = {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
        digest = hashlib.blake2b(digest_size=6)
        for name, data in self._files.items():
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
        self.version = digest.hexdigest()
        self._packed: dict[str, bytes] = {}

    def url(self, name: str) -> str:
        """The address of a file; KeyError when there is none of this name."""
        self._files[name]
        return f"/static/{self.version}/{name}"

    def respond(self, version: str, name: str) -> Response:
        """The file; 404 for an unknown one. An old version's address gives today's file, not to be kept."""
        data = self._files.get(name)
        if data is None:
            abort(404)
        response = Response(content_type=_content_type(name))
        response.headers["Cache-Control"] = _FOREVER if version == self.version else "no-cache"
        if name.endswith(COMPRESSED):
            response.vary.add("Accept-Encoding")
            if request.accept_encodings.quality("gzip"):
                data = self._packed.setdefault(name, gzip.compress(data, 9, mtime=0))
                response.content_encoding = "gzip"
        response.set_data(data)
        response.set_etag(f"{self.version}-{response.content_encoding or 'plain'}")
        response.make_conditional(request)
        return response


def _content_type(name: str) -> str:
    if name.endswith(".js"):
        return "text/javascript; charset=utf-8"
    guessed = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed


def create_static(assets: Assets) -> Blueprint:
    """The route /static/VERSION/NAME."""
    blueprint = Blueprint("assets", __name__)
    blueprint.add_url_rule("/static/<version>/<path:name>", view_func=assets.respond, endpoint="file")
    return blueprint
