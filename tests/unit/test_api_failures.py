"""What clients get when the store fails: the right status and words, never a traceback."""

from typing import Any

import pytest

from collector.query.querier import Querier
from collector.store.errors import QueryTooLong, StoreBusy, StoreError
from query_ui.app import create_app


class FailingStore:
    """A store that raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def query(self, statement: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (QueryTooLong(159, "Too long.", "Shorten."), 504),
        (StoreBusy(241, "No room.", "Wait."), 503),
        (StoreError(60, "Table is gone.", ""), 503),
    ],
)
def test_store_errors_have_a_status_and_words(error: StoreError, status: int) -> None:
    client = create_app(Querier(FailingStore(error))).test_client()  # type: ignore[arg-type]
    for route in ("profile", "top", "series", "summary", "labels", "labels/host/values"):
        answer = client.get(f"/api/v1/{route}")
        assert answer.status_code == status
        assert set(answer.json) == {"error", "hint"}
        assert answer.json["error"]
    assert client.get("/readyz").status_code == status


def test_fault_of_our_own_is_logged_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    client = create_app(Querier(FailingStore(ZeroDivisionError("secret detail")))).test_client()  # type: ignore[arg-type]
    answer = client.get("/api/v1/summary")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "secret detail" in caplog.text


def test_unknown_address_names_the_routes() -> None:
    client = create_app(Querier(FailingStore(OSError()))).test_client()  # type: ignore[arg-type]
    answer = client.get("/api/v1/profiles")
    assert answer.status_code == 404
    assert "/api/v1/profile" in answer.json["hint"]
    page = client.get("/nowhere", headers={"Accept": "text/html"})
    assert page.status_code == 404
    assert "There is nothing at /nowhere" in page.text
    assert page.headers["Content-Security-Policy"]
    assert client.post("/api/v1/profile").status_code == 405


def test_markup_in_an_address_stays_text() -> None:
    client = create_app(Querier(FailingStore(OSError()))).test_client()  # type: ignore[arg-type]
    page = client.get("/<script>alert(1)</script>", headers={"Accept": "text/html"})
    assert "<script>alert" not in page.text
