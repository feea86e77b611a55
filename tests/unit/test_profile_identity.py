"""Identities are stable: these values are in stores and on wires, so they may never change."""

from hypothesis import given
from hypothesis import strategies as st

from fleetprof.frames import Frame, FrameKind, frame_id, stack_id
from fleetprof.series import canonical, series_id, wait_label

FRAME_MAIN = 0x659CC14957BD4E81
STACK_MAIN = 0xF865AD6DF4C804E1
SERIES_WEB = 0xC5A74BAC0E2A238E

labels = st.dictionaries(st.sampled_from(["host", "service", "team", "pod"]), st.text(max_size=8))


def test_known_identities() -> None:
    main = Frame(FrameKind.NATIVE, "main", "app")
    assert frame_id(main) == FRAME_MAIN
    assert stack_id([frame_id(main)]) == STACK_MAIN
    assert series_id({"service": "web", "host": "h1"}) == SERIES_WEB
    assert stack_id([]) == 0


def test_line_numbers_and_build_ids_of_named_functions_are_not_identity() -> None:
    assert frame_id(Frame(FrameKind.NATIVE, "f", "m", "aa", 1, "x.c", 2)) == frame_id(
        Frame(FrameKind.NATIVE, "f", "m")
    )


def test_unnamed_frames_differ_by_build_and_offset() -> None:
    ids = {
        frame_id(Frame(FrameKind.NATIVE, "", "m", build, offset)) for build in ("", "aa") for offset in (1, 2)
    }
    assert len(ids) == 4


@given(st.text(max_size=6), st.text(max_size=6))
def test_function_and_mapping_do_not_run_into_each_other(function: str, mapping: str) -> None:
    moved = Frame(FrameKind.NATIVE, function + mapping[:1], mapping[1:])
    if mapping and function:
        assert frame_id(Frame(FrameKind.NATIVE, function, mapping)) != frame_id(moved)


@given(labels, labels)
def test_series_are_equal_exactly_when_their_labels_are(one: dict[str, str], other: dict[str, str]) -> None:
    assert (series_id(one) == series_id(other)) == (canonical(one) == canonical(other))


def test_wait_labels() -> None:
    assert [wait_label(number) for number in (1, 4, 12)] == ["futex", "read", "read:uninterruptible"]
