"""People sign in with a token in a real browser, land where they wanted to be, and are asked again when it ends."""

import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.product import BIN, Up, up, wait_until

pytestmark = [pytest.mark.ui, pytest.mark.e2e]


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("locked") / "data", "--no-agent", "--auth", "tokens") as running:
        running.wait_to_say("UI ready")
        yield running


def token(running: Up, *arguments: str) -> str:
    command = [BIN / "fleetprof-collector", "token", *arguments, "--data", running.data]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_sign_in_stay_and_be_asked_again(browser: Browser, locked: Up) -> None:
    text = token(locked, "create", "ann", "--scope", "read")
    page = browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    visited: list[str] = []
    page.on("framenavigated", lambda frame: visited.append(frame.url))
    page.goto(f"{locked.url}/hosts?q=x")
    field = page.get_by_label("Token")
    expect(field).to_be_focused()
    field.fill("fpt_nonsense")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not one of this collector")
    assert len(visited) == 2, f"the page asks once, it does not load itself again: {visited}"
    field.fill(text)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert page.url == f"{locked.url}/hosts?q=x"
    expect(page.get_by_text("No host has reported")).to_be_visible()
    token(locked, "revoke", "ann")
    # The collector looks for changes once a second.
    wait_until(lambda: page.goto(f"{locked.url}/alerts") and "/login?next=" in page.url, "the sign-in page")
    expect(page.get_by_label("Token")).to_be_visible()
    page.close()
    assert complaints == []
