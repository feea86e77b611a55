"""Names that are SQL, HTML, control characters, invalid UTF-8 or a megabyte long, from push to page.

Each name comes with a value of its own, and a neighbour whose value is known: whatever a name does, it does it
to its own row. All through the running product: gRPC in, HTTP out.
"""

import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import grpc
import pytest
import requests

from collector.ingest.definitions import shown
from collector.query.selector import quote
from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.v1 import ingest_pb2, ingest_pb2_grpc
from tests.e2e.product import BIN, Up, up
from tests.store.pushes import Row, push_request, recent_window_s

pytestmark = pytest.mark.e2e

ACCEPTED = ingest_pb2.PushResponse.STATUS_ACCEPTED
MIB = "m" * (1 << 20)
HOSTILE = (
    "'; DROP TABLE samples; --",
    '" OR 1=1 --',
    "`samples`",
    "\\",
    "\\'; SELECT 1",
    "%(service)s %s {0} $1 {{7*7}} {% raw %}",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></script><svg onload=alert(1)>",
    "javascript:alert(1)",
    "nul\0byte",
    "line\nbreak\r\ttab\x1b[31mred\x7f",
    "\u202eright to left\u202c",
    "e\u0301 \U0001f525 \ufeff\uffff",
    "a;b;c",
    '{service=~".*"}',
    "../../etc/passwd",
    " ",
    "=cmd|' /C calc'!A0",
    "x" * 1024,
)
NEIGHBOUR, NEIGHBOUR_NS = "plain-neighbour", 7_000_000_123
PAGE = {"Accept": "text/html"}


class Product:
    """The running product, and how often it was pushed to."""

    def __init__(self, running: Up) -> None:
        self.up = running
        channel = grpc.insecure_channel(
            f"127.0.0.1:{running.grpc}", options=[("grpc.max_receive_message_length", -1)]
        )
        self.raw = channel.unary_unary(
            "/fleetprof.v1.IngestService/Push", lambda data: data, ingest_pb2.PushResponse.FromString
        )
        self.stub = ingest_pb2_grpc.IngestServiceStub(channel)
        self.sequence = 0

    def push(self, service: str, function: str, value: int, **labels: str) -> ingest_pb2.PushRequest:
        """A request of one row whose leaf is `function`; not sent yet."""
        self.sequence += 1
        # Stacks of pushes.py are separated by ";": the name is put in where the placeholder was.
        request = push_request(
            [Row("placeholder", value)],
            {"host": "hostile-host", "service": service, **labels},
            sequence=self.sequence,
            start_s=recent_window_s(),
            agent_id="hostile",
        )
        strings = request.definitions.strings
        strings[list(strings).index("placeholder")] = function
        request.window.stack_ids[0] = stack_id([frame_id(Frame(FrameKind.NATIVE, function, "app"))])
        return request

    def get(self, route: str, **parameters: str) -> Any:
        answer = requests.get(
            f"{self.up.url}/api/v1/{route}", params={"from": "now-1h", **parameters}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def rows_of(self, selector: str) -> dict[str, int]:
        return {row["name"]: row["self"] for row in self.get("top", query=selector, limit="10000")["rows"]}


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    data = tmp_path_factory.mktemp("hostile") / "data"
    with up(data, "--no-agent") as running:
        running.wait_to_say("UI ready")
        made = Product(running)
        assert made.stub.Push(made.push(NEIGHBOUR, "work", NEIGHBOUR_NS), timeout=60).status == ACCEPTED
        yield made
        assert made.rows_of(f'service="{NEIGHBOUR}"') == {"work": NEIGHBOUR_NS}
        assert running.end() == 0
        assert "Traceback" not in running.said
        checked = subprocess.run(
            [BIN / "fleetprof-collector", "check", "--data", data],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def no_control(text: str) -> bool:
    return not re.search(r"[\x00-\x1f\x7f]", text)


def test_each_name_is_a_row_of_its_own(product: Product) -> None:
    expected = {}
    for n, text in enumerate(HOSTILE):
        expected[shown(text)] = 1_000_000_000 + n
        request = product.push(text, text, 1_000_000_000 + n, version=text, team=text, thread=text)
        assert product.stub.Push(request, timeout=60).status == ACCEPTED, text
    for text, value in expected.items():
        for label in ("service", "version", "thread", "team"):
            assert product.rows_of(f"{label}={quote(text)}") == {text: value}, (label, text)
        if text.isascii():  # Python escapes what RE2 takes as it is
            assert product.rows_of(f"service=~{quote(re.escape(text))}") == {text: value}
    for label in ("service", "version", "thread", "team"):
        values = product.get(f"labels/{label}/values", limit="1000")["values"]
        assert set(expected) <= set(values)
        assert all(map(no_control, values))
    assert product.rows_of("") == {**expected, "work": NEIGHBOUR_NS}
    flame = product.get("profile", min_share="0")["flame"]
    assert flame["whole"] == sum(expected.values()) + NEIGHBOUR_NS
    assert set(expected) <= set(flame["names"])


class Markup(HTMLParser):
    """Fails on markup that runs anything, or leads to another place."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert not [name for name in given if name.startswith("on")], (tag, given)
        assert tag not in ("img", "iframe", "object", "embed", "base"), (tag, given)
        assert tag != "script" or given.get("src", "").startswith("/static/"), given
        for name in ("href", "src", "action"):
            assert given.get(name, "/").startswith(("/", "#")), (tag, given)


def test_no_page_holds_a_name_as_markup(product: Product) -> None:
    for text in HOSTILE:
        for path, query in (
            ("/", {"query": f"service={quote(text)}", "x": text}),
            ("/compare", {"a": text, "b": text}),
            ("/alerts/" + requests.utils.quote(text, safe=""), {}),
            ("/" + requests.utils.quote(text, safe=""), {"x": text}),
            ("/api/v1/" + requests.utils.quote(text, safe=""), {}),
        ):
            answer = requests.get(product.up.url + path, params=query, headers=PAGE, timeout=60)
            assert answer.status_code < 500, (path, answer.status_code)
            if answer.headers["Content-Type"].startswith("text/html"):
                Markup().feed(answer.text)
                assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
            else:
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
    exported = requests.get(
        f"{product.up.url}/api/v1/profile", params={"format": "folded", "from": "now-1h"}, timeout=60
    )
    assert exported.status_code == 200


def refused(product: Product, data: bytes, *words: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        product.raw(data, timeout=60)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    for word in words:
        assert word in caught.value.details()


def test_a_megabyte_and_what_is_no_text_are_refused_whole(product: Product) -> None:
    before = product.rows_of("")
    long_function = product.push("long", MIB, 1)
    long_label = product.push("long", "f", 1, team=MIB)
    long_service = product.push(MIB, "f", 1)
    long_host = product.push("long", "f", 1)
    long_host.window.host = MIB
    for request in (long_function, long_label, long_service, long_host):
        refused(product, request.SerializeToString())
    for place in ("service", "function", "host"):
        request = product.push("PLACEHOLD1" if place == "service" else "s", "PLACEHOLD2", 1)
        mark = {"service": b"PLACEHOLD1", "function": b"PLACEHOLD2", "host": b"hostile-host"}[place]
        data = request.SerializeToString()
        assert mark in data
        refused(product, data.replace(mark, b"\xff\xfe\xc0\xaf" + mark[4:]))
    for name in ("a b", "a'b", "1a", "", "host\0", "é", "x" * 65, "a=b", MIB):
        request = product.push("s", "f", 1, some_label="v")
        strings = request.definitions.strings
        strings[list(strings).index("some_label")] = name
        refused(product, request.SerializeToString())
    assert product.rows_of("") == before


def test_selectors_that_are_no_selectors(product: Product) -> None:
    for text in (*HOSTILE, "service=" + quote("x") * 2, "service=~" + quote("("), "a" * 9000):
        for route in ("top", "profile", "series", "labels/service/values", "summary"):
            answer = requests.get(
                f"{product.up.url}/api/v1/{route}", params={"query": text, "from": "now-1h"}, timeout=60
            )
            if text.strip():
                assert answer.status_code in (200, 400), (route, text)
            if answer.status_code == 400:
                assert set(answer.json()) == {"error", "hint"}
    # A URL of a megabyte is more than the server reads; it says so, or ends the connection.
    try:
        status = requests.get(f"{product.up.url}/api/v1/top", params={"query": MIB}, timeout=60).status_code
    except requests.ConnectionError:
        status = 431
    assert status in (400, 413, 414, 431)
    assert product.rows_of(f'service="{NEIGHBOUR}"') == {"work": NEIGHBOUR_NS}
