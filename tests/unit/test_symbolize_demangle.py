"""Names for people, from names that anybody may have written."""

import re
import shutil
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetprof.demangle import MAX_NAME_BYTES, readable, shorten
from fleetprof.demangle_rust import demangle_rust, is_rust
from fleetprof.frames import FrameKind

RUST = {
    "_ZN4core3fmt5write17h0123456789abcdefE": "core::fmt::write",
    "_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$3bar17h930b740aa94f1d3aE": (
        "<Test + 'static as foo::Bar<Test>>::bar"
    ),
    "_RNvCs1234_7mycrate3foo": "mycrate::foo",
    "_RNvNtCs1234_7mycrate3foo3bar": "mycrate::foo::bar",
    "_RNCNvCsgStHSCytQ6I_7mycrate4main0B3_": "mycrate::main::{closure#0}",
    "_RNvMsr_NtCs3ssYzQotkvD_3std4pathNtB5_7PathBuf3newCs15kBYyAo9fc_7mycrate": "<std::path::PathBuf>::new",
    "_RINvNtC3std3mem8align_ofdE": "std::mem::align_of::<f64>",
    "_RNvXs_NtC7mycrate3fooNtB4_3BarNtNtC4core3fmt5Debug3fmt": "<mycrate::foo::Bar as core::fmt::Debug>::fmt",
    "_RINvC7mycrate3fooKj20_Kb1_Kc41_Kan7f_E": "mycrate::foo::<32, true, 'A', -127>",
    "_RINvC1c1fFG_RL0_hEuE": "c::f::<for<'a> fn(&'a u8)>",
    "_RINvC1c1fFUKCjEhE": 'c::f::<unsafe extern "C" fn(usize) -> u8>',
    "_RINvC1c1fDNtNtC4core3fmt5DebugEL_E": "c::f::<dyn core::fmt::Debug>",
    "_RINvC1c1fDNtC1d8Iteratorp4ItemhEL_E": "c::f::<dyn d::Iterator<Item = u8>>",
    "_RINvC1c1fThEE": "c::f::<(u8,)>",
    "_RINvC1c1fAhj4_ShQhPhOhE": "c::f::<[u8; 4], [u8], &mut u8, *const u8, *mut u8>",
}


@pytest.mark.parametrize(("symbol", "name"), RUST.items())
def test_rust(symbol: str, name: str) -> None:
    assert demangle_rust(symbol) == name
    assert readable(symbol) == (name, FrameKind.RUST)


@pytest.mark.parametrize("symbol", RUST)
def test_rust_as_binutils_sees_it(symbol: str) -> None:
    if not shutil.which("c++filt"):
        pytest.skip("c++filt is not installed here")
    said = subprocess.run(["c++filt", "-s", "rust", symbol], capture_output=True, text=True).stdout.strip()
    without_hashes = re.sub(r"\[[0-9a-f]+\]|::h[0-9a-f]{16}$|: (usize|bool|char|i8)\b", "", said)
    assert demangle_rust(symbol) == without_hashes


def test_cxx() -> None:
    assert (
        readable("_ZNSt6vectorIiSaIiEE9push_backEOi")[0]
        == "std::vector<int, std::allocator<int> >::push_back(int&&)"
    )
    assert readable("_ZN3foo3barEv") == ("foo::bar()", FrameKind.NATIVE)
    assert readable("_ZN3foo3barEv.constprop.0")[0] == "foo::bar() [clone .constprop.0]"


@pytest.mark.parametrize("symbol", ["main", "_Z", "_ZN", "_R", "_RNv", "_Zfoo", "$x", "é", "_ZN17h", "a b"])
def test_what_is_not_mangled_stays(symbol: str) -> None:
    assert readable(symbol) == (symbol, FrameKind.NATIVE)


def test_cxx_bomb_stays_mangled() -> None:
    """Each step doubles the printed type: 60 steps would print 2^60 characters."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    sequence = ["", *digits] + [a + b for a in "123" for b in digits]
    symbol = "_Z1f1AIiiE" + "".join(f"S_IS{sequence[i + 1]}_S{sequence[i + 1]}_E" for i in range(60))
    assert readable(symbol)[0] == symbol


def test_rust_bombs_stay_mangled() -> None:
    """Tuples of back references to tuples of back references; and a binder of 62^8 lifetimes."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    text, last = "INvC1c1fTuuE", 7
    for _ in range(40):
        back = (
            "B"
            + (digits[last - 1] if last <= 62 else digits[(last - 1) // 62] + digits[(last - 1) % 62])
            + "_"
        )
        last = len(text)
        text += f"T{back}{back}E"
    symbol = f"_R{text}E"
    before = time.process_time()
    assert demangle_rust(symbol) == symbol
    assert demangle_rust("_RINvC1c1fFGzzzzzzzz_uuE") == "_RINvC1c1fFGzzzzzzzz_uuE"
    assert demangle_rust("_R" + "N" * 1000) == "_R" + "N" * 1000
    assert time.process_time() - before < 2


def test_long_names_are_cut_and_marked() -> None:
    long = shorten("é" * 2000)
    assert long.endswith("…")
    assert MAX_NAME_BYTES - 2 <= len(long.encode()) <= MAX_NAME_BYTES
    assert shorten("x" * 1024) == "x" * 1024
    assert shorten("a\nb\x00c\x7f") == "a?b?c?"
    assert shorten("bad\udc80byte").encode()


@settings(max_examples=2000)
@given(
    st.text("_RNvCsIMXYB0123456789abcEKLFGTASpjhu.$", max_size=60),
    st.sampled_from(["_R", "_RNv", "_RINvC1a1b", ""]),
)
def test_any_text_is_survived(text: str, start: str) -> None:
    name, kind = readable(start + text)
    assert name or not (start + text)
    assert kind in (FrameKind.RUST, FrameKind.NATIVE)


@settings(max_examples=1000)
@given(st.text("ZNSt0123456789IJELPKRdaibc_T.", max_size=60))
def test_any_cxx_is_survived(text: str) -> None:
    readable("_Z" + text)


def test_rust_is_told_from_cxx() -> None:
    assert is_rust("_ZN4core3fmt5write17h0123456789abcdefE")
    assert is_rust("_ZN4core3fmt5write17h0123456789abcdefE.llvm.123")
    assert not is_rust("_ZN4core3fmt5writeEv")
    assert readable("_ZN4core3fmt5write17h0123456789abcdefE.llvm.123")[0] == "core::fmt::write"
