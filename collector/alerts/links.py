"""Links from an alert to the pages that show its evidence."""

from urllib.parse import urlencode

from collector.query.model import Query
from collector.query.selector import format_selector


def explore_link(ui_url: str, query: Query, search: str) -> str:
    """The Explore page with this selection."""
    values = {**_selection("", query), "search": search}
    return f"{ui_url.rstrip('/')}/?{_encode(values)}"


def compare_link(ui_url: str, a: Query, b: Query, focus: str) -> str:
    """The Compare page with both selections, focused on a function."""
    values = {**_selection("a_", a), **_selection("b_", b), "focus": focus}
    return f"{ui_url.rstrip('/')}/compare?{_encode(values)}"


def _selection(prefix: str, query: Query) -> dict[str, str]:
    return {
        f"{prefix}query": format_selector(query.matchers),
        f"{prefix}from": str(query.range.start_s),
        f"{prefix}to": str(query.range.end_s),
    }


def _encode(values: dict[str, str]) -> str:
    return urlencode({name: text for name, text in values.items() if text}, errors="replace")
