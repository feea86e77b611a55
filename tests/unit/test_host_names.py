"""A web site cannot read the pages by pointing its name at this machine."""

import pytest
from flask import Flask

from query_ui.failures import handle_failures
from query_ui.host_names import known_names, refuse_other_names


def status(host: str, *names: str) -> int:
    app = Flask(__name__, static_folder=None)
    app.add_url_rule("/api/v1/labels", view_func=lambda: "secret")
    handle_failures(app)
    refuse_other_names(app, names)
    answer = app.test_client().get("/api/v1/labels", headers={"Host": host})
    assert ("secret" in answer.text) == (answer.status_code == 200)
    return answer.status_code


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "fleet.localhost:1", "127.0.0.1:8080", "[::1]:8080", "10.0.0.7"]
)
def test_this_machines_names_are_good(host: str) -> None:
    assert status(host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "[::1", "1.2.3"]
)
def test_other_names_are_refused(host: str) -> None:
    assert status(host) == 400


def test_the_name_people_use_is_good() -> None:
    assert known_names("127.0.0.1", "https://Prof.lan/x") == ("prof.lan",)
    assert status("PROF.lan:443", "prof.lan") == 200


def test_served_to_the_network_every_name_is_good() -> None:
    assert known_names("0.0.0.0", "") is None
    assert known_names("::1", "") == ()
    assert known_names("localhost", "") == ()
