"""Debug files of agents: each build asked for once, taken whole, and never in the place of what others brought."""

import os
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.debuginfo.arrival import Arrival, Damaged
from collector.debuginfo.claims import CLAIM_S, FAILED_S, MAX_CLAIMS, REFUSED_S
from collector.debuginfo.files import DebugFiles
from collector.debuginfo.offer_service import DebugOfferService
from collector.debuginfo.offered import MAX_OFFERS, Question, read_offers
from collector.debuginfo.offers import Answer, Offers, Unknown, retry_ms
from collector.debuginfo.origin import Origin
from collector.debuginfo.segments import Segment
from collector.debuginfo.workers import Inspection
from collector.ingest.refusal import Later
from fleetprof.errors import InputError
from fleetprof.v1 import debuginfo_pb2
from tests.unit.debug_sending import Part, Shop, cut, digest_of, offer
from tests.workloads.stripped import Stripped, build_stripped


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Stripped:
    return build_stripped("cpp", tmp_path_factory.mktemp("cpp"))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "kept")


def test_a_thousand_agents_with_one_program_make_one_upload(shop: Shop, built: Stripped) -> None:
    data = built.debug.read_bytes()
    offered = offer(built.build_id, len(data))
    told = [shop.ask(f"agent-{number}", offered)[0] for number in range(1000)]
    assert [answer for answer, _ in told] == [Answer.WANTED, *[Answer.BUSY] * 999]
    assert retry_ms([Answer.BUSY]) < retry_ms([Answer.UNNEEDED])
    kept = shop.send(told[0][1], cut(data))
    assert not kept.better
    assert (kept.file.origin, kept.file.sender, kept.file.name) == (Origin.AGENT, "host-agent-0", "checkout")
    assert (shop.changes, shop.incoming(), shop.offers.open_claims) == (1, 0, 0)
    assert sum(shop.paid) == shop.offers.taken_bytes == len(data)
    again = Shop(shop.folder)  # the collector, started anew
    for shop_now in (shop, again):
        told = [shop_now.ask(f"agent-{number}", offered)[0] for number in range(1000)]
        assert told == [(Answer.NEVER, 0)] * 1000
    stored = next(shop.folder.glob("*.debug"))
    assert stored.read_bytes() == data


def test_an_agent_that_goes_silent_loses_its_claim_to_another(shop: Shop, built: Stripped) -> None:
    data = built.debug.read_bytes()
    offered, parts = offer(built.build_id, len(data)), cut(data)
    silent = shop.wanted("silent", offered)
    shop.part(silent, *parts[0])
    shop.now_s += CLAIM_S - 1
    shop.part(silent, *parts[1])
    shop.now_s += CLAIM_S - 1
    assert shop.ask("other", offered) == [(Answer.BUSY, 0)], "it did send meanwhile"
    shop.now_s += 2
    other = shop.wanted("other", offered)
    assert shop.incoming() == 0
    with pytest.raises(Unknown):
        shop.part(silent, *parts[2])
    shop.part(other, *parts[0])
    assert shop.ask("other", offered) == [(Answer.BUSY, 0)], "it begins anew, and has given up before"
    assert shop.ask("silent", offered) == [(Answer.BUSY, 0)]
    shop.now_s += FAILED_S + 1
    assert not shop.send(shop.wanted("silent", offered), parts).better


def test_one_file_an_agent_and_so_many_in_all(shop: Shop) -> None:
    two = [offer("aa" * 20, 1000), offer("bb" * 20, 1000)]
    assert [answer for answer, _ in shop.ask("one", *two)] == [Answer.WANTED, Answer.BUSY]
    for number in range(MAX_CLAIMS - 1):
        shop.wanted(f"agent-{number}", offer(f"{number:040x}", 1000))
    assert shop.ask("last", offer("cc" * 20, 1000)) == [(Answer.BUSY, 0)]
    assert shop.offers.answers[Answer.WANTED] == MAX_CLAIMS


def test_only_what_is_needed_or_has_room_is_asked_for(shop: Shop) -> None:
    large, lines_only = 600_000, offer("aa" * 20, 600_000, nameless=False)
    assert shop.ask("a", lines_only) == [(Answer.UNNEEDED, 0)], "it would take more than half of the room"
    shop.nameless.add("aa" * 20)
    assert shop.ask("a", lines_only)[0][0] is Answer.WANTED, "another host lacks its names"
    assert shop.ask("b", offer("bb" * 20, 1000, nameless=False))[0][0] is Answer.WANTED
    assert shop.ask("c", offer("cc" * 20, 1000, nameless=False, lines=False)) == [(Answer.UNNEEDED, 0)]
    assert shop.ask("d", offer("dd" * 20, large))[0][0] is Answer.WANTED
    assert shop.ask("e", offer("ee" * 20, 2 << 20)) == [(Answer.NEVER, 0)], "larger than all room"
    assert Shop(shop.folder.parent / "none", 0).offers.refusal == "debuginfo_size is 0."
    off = Offers(shop.intake, set, print, accepting=False)
    answer = DebugOfferService(off).Offer(debuginfo_pb2.OfferDebugInfoRequest(agent_id="a"), None)  # type: ignore[arg-type]
    assert (answer.accepting, answer.reason) == (False, "debuginfo_from_agents is off.")


def test_what_others_brought_is_never_replaced_by_an_agent(shop: Shop, built: Stripped) -> None:
    whole, debug = built.whole.read_bytes(), built.debug.read_bytes()

    def bring(origin: Origin, data: bytes) -> bool:
        return not shop.intake.take("x", len(data), [data], built.build_id, origin).better

    first = shop.wanted("early", offer(built.build_id, len(debug)))
    assert bring(Origin.COMMAND, whole)
    assert shop.send(first, cut(debug)).better, "it was asked for before, and came after"
    assert shop.ask("late", offer(built.build_id, len(debug))) == [(Answer.NEVER, 0)]
    assert not bring(Origin.DEBUGINFOD, debug)
    assert bring(Origin.COMMAND, debug)
    shop.files.remove(built.build_id)
    assert shop.ask("late", offer(built.build_id, len(debug))) == [(Answer.NEVER, 0)], "somebody removed it"
    shop.files.past.forget(built.build_id)
    assert not shop.deliver("late", built).better
    assert not bring(Origin.AGENT, whole), "of two agents the first counts"
    assert bring(Origin.DEBUGINFOD, debug)
    assert bring(Origin.COMMAND, debug)


def test_files_of_agents_push_out_nothing_else(tmp_path: Path) -> None:
    shop = Shop(tmp_path, limit_bytes=100_000)

    def keep(build_id: str, origin: Origin) -> list[str]:
        with shop.files.incoming() as incoming:
            incoming.write(os.urandom(28_000))
            found = Inspection(build_id, True, True, [Segment(0, 1, 0)], 0)
            return shop.files.keep(incoming, found, "x", origin).evicted

    one, two, three, four = (digit * 40 for digit in "abcd")
    assert keep(one, Origin.AGENT) == keep(two, Origin.COMMAND) == keep(three, Origin.DEBUGINFOD) == []
    os.utime(shop.folder / f"{one}.json", (2e9, 2e9))
    assert keep(four, Origin.AGENT) == [one], "though it was used last"
    assert keep(one, Origin.COMMAND) == [four]
    assert shop.files.room_for_agents() < 28_000
    assert shop.ask("a", offer(four, 28_000)) == [(Answer.NEVER, 0)], "it would only push out others"
    assert shop.ask("a", offer("e" * 40, 28_000)) == [(Answer.UNNEEDED, 0)]
    assert keep("e" * 40, Origin.AGENT) == ["e" * 40]
    assert {file.build_id for file in shop.files.all()} == {one, two, three}


def test_parts_that_are_damaged_or_come_twice(shop: Shop, built: Stripped) -> None:
    data = built.debug.read_bytes()
    parts = cut(data)
    claim = shop.wanted("a", offer(built.build_id, len(data)))
    for offset, part in parts[:-1]:
        with pytest.raises(Damaged):
            shop.offers.take_part(claim, offset, part, zlib.crc32(part) ^ 1, b"", shop.paid.append)
        assert shop.part(claim, offset, part) is None
        assert shop.part(claim, offset, part) is None, "its answer was lost"
    kept = shop.part(claim, *parts[-1], digest_of(parts))
    assert kept
    assert not kept.better
    assert next(shop.folder.glob("*.debug")).read_bytes() == data


def test_a_token_that_sent_enough_is_told_to_come_later(shop: Shop, built: Stripped) -> None:
    data = built.debug.read_bytes()
    claim = shop.wanted("a", offer(built.build_id, len(data)))

    def refuse(size: int) -> None:
        raise Later("enough", overloaded=True)

    offset, part = cut(data)[0]
    with pytest.raises(Later):
        shop.offers.take_part(claim, offset, part, zlib.crc32(part), b"", refuse)
    assert not shop.send(claim, cut(data)).better, "nothing of it was taken, and the claim is as it was"


def test_what_is_no_such_file_is_refused_and_three_agents_suffice(shop: Shop, built: Stripped) -> None:
    data = built.debug.read_bytes()
    whole, zeros = cut(data), cut(bytes(len(data)))
    wrong: list[tuple[str, list[Part], bytes, str]] = [
        ("aa" * 20, whole[:-1], digest_of(whole[:-1]), "not whole"),
        ("aa" * 20, whole, bytes(32), "not what was sent"),
        ("aa" * 20, zeros, digest_of(zeros), "no ELF file"),
        ("bb" * 20, whole, digest_of(whole), f"is {built.build_id}, not {'bb' * 20}"),
    ]
    for number, (build_id, parts, digest, said) in enumerate(wrong):
        offered = offer(build_id, len(data))
        claim = shop.wanted(f"agent-{number}", offered)
        for part in parts[:-1]:
            assert shop.part(claim, *part) is None
        with pytest.raises(InputError) as refused:
            shop.part(claim, *parts[-1], digest)
        assert said in str(refused.value)
        assert shop.incoming() == 0
        with pytest.raises(Unknown):
            shop.part(claim, *parts[0])
        assert shop.ask(f"agent-{number}", offered)[0][0] is not Answer.WANTED
    assert shop.ask("honest", offer("aa" * 20, len(data))) == [(Answer.NEVER, 0)]
    assert shop.ask("honest", offer("bb" * 20, len(data)))[0][0] is Answer.WANTED
    assert shop.offers.refused == 4
    assert not list(shop.folder.glob("*.debug"))
    shop.now_s += REFUSED_S
    shop.wanted("agent-0", offer("aa" * 20, len(data)))


@pytest.fixture(scope="module")
def arriving(tmp_path_factory: pytest.TempPathFactory) -> DebugFiles:
    return DebugFiles(tmp_path_factory.mktemp("arriving"), 1 << 20)


@given(
    size=st.integers(1, 300),
    sent=st.integers(1, 300),
    parts=st.lists(
        st.tuples(st.integers(0, 1 << 63), st.binary(max_size=80)) | st.integers(0, 40), max_size=12
    ),
)
@settings(max_examples=150)
def test_parts_in_any_order_make_what_they_say_or_nothing(
    arriving: DebugFiles, size: int, sent: int, parts: list[Part | int]
) -> None:
    """A number stands for a part that fits, of as many bytes."""
    arrival = Arrival(arriving, size, sent)
    image, taken, end = bytearray(size), [], 0
    try:
        for part in parts:
            offset, data = (end, bytes(range(1, part + 1))) if isinstance(part, int) else part
            new = arrival.add(offset, data, zlib.crc32(data))
            if new:
                assert len(data) == new
                assert offset >= end
                taken.append((offset, data))
                image[offset : offset + new], end = data, offset + new
        assert arrival.missing == sent - sum(len(data) for _, data in taken) >= 0
        arrival.complete(digest_of(taken))
        arrival.file.seek(0)
        assert arrival.file.read() == bytes(image)
        assert not arrival.missing
    except InputError:
        pass
    finally:
        arrival.close()
    assert len(image) == size
    assert not list((arriving.folder / "incoming").iterdir())


_AGENTS = st.sampled_from("abcd")
_OPERATIONS = st.one_of(
    st.tuples(st.just("ask"), _AGENTS, st.lists(st.sampled_from(["11" * 4, "22" * 4, "33" * 4]), max_size=4)),
    st.tuples(st.sampled_from(["send", "spoil", "break"]), _AGENTS, st.just([])),
    st.tuples(st.just("pass"), st.just(""), st.sampled_from([["1"], ["100"], ["700"], ["90000"]])),
)


@given(st.lists(_OPERATIONS, max_size=40))
@settings(max_examples=60)
def test_whatever_agents_do_a_build_is_asked_of_one_at_a_time(
    operations: list[tuple[str, str, list[str]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder))
        claims: dict[str, tuple[str, int]] = {}
        ends: dict[str, int] = {}
        for what, agent, words in operations:
            if what == "pass":
                shop.now_s += int(words[0])
            elif what == "ask":
                told = shop.ask(agent, *(offer(build_id, 1000) for build_id in words))
                granted = [(word, claim) for word, (_, claim) in zip(words, told, strict=True) if claim]
                assert len(granted) <= 1
                claims.pop(agent, None)
                for build_id, claim in granted:
                    claims[agent], ends[agent] = (build_id, claim), 0
            elif agent in claims:
                known = shop.offers._claims.find(claims[agent][1])
                at = {"send": ends[agent], "spoil": ends[agent], "break": 999}[what]
                data = bytes(10)
                try:
                    shop.offers.take_part(
                        claims[agent][1],
                        at,
                        data,
                        zlib.crc32(data) ^ (what == "spoil"),
                        b"",
                        shop.paid.append,
                    )
                    assert what == "send"
                    ends[agent] += 10
                except Damaged:
                    assert what == "spoil"
                except (InputError, Unknown):
                    assert what == "break" or known is None or shop.now_s > known.until_s
                    del claims[agent]
            living = list(shop.offers._claims)
            assert (
                len({claim.build_id for claim in living})
                == len({claim.agent_id for claim in living})
                == len(living)
            )
            assert shop.incoming() <= len(living)
        shop.offers.close()
        assert shop.incoming() == shop.offers.open_claims == 0
        assert not shop.files.all()


_texts = st.text(max_size=80) | st.sampled_from(["a" * 64, "a" * 65, "ab" * 20, "../x", "x\n"])
_numbers = st.integers(0, (1 << 64) - 1) | st.integers(0, 4)
_offers = st.builds(
    debuginfo_pb2.DebugInfoOffer,
    build_id=_texts, name=_texts, size=_numbers, sent_size=_numbers,
    has_lines=st.booleans(), nameless=st.booleans(),
)  # fmt: skip


@given(
    st.builds(
        debuginfo_pb2.OfferDebugInfoRequest,
        agent_id=_texts,
        host=_texts,
        offers=st.lists(_offers, max_size=3),
    ),
    st.integers(0, 70),
)
def test_offers_are_understood_or_refused(request: debuginfo_pb2.OfferDebugInfoRequest, copies: int) -> None:
    if request.offers:
        request.offers.extend([request.offers[0]] * copies)
    try:
        found: Question = read_offers(request)
    except InputError:
        return
    assert 0 < len(found.agent_id.encode()) <= 64
    assert len(found.offers) == len(request.offers) <= MAX_OFFERS
    for each in found.offers:
        assert 0 < each.sent_size <= each.size
        assert len(each.name.encode()) <= 255
        assert not each.build_id.strip("0123456789abcdef")
