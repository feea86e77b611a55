"""A comparison in plain words."""

import numpy as np

from collector.compare.clusters import Layout
from collector.compare.model import Arm, CpuChange, Effects
from collector.compare.units import Unit

_SHOWN = (0.001, 0.01, 0.1)
"""Shares of functions whose smallest visible change is told."""


def describe_method(
    arms: tuple[Arm, Arm], layout: Layout, paired: bool, concurrent: bool, adjusted: bool
) -> str:
    """How the two sides were compared, and what that leaves open."""
    a, b = arms
    hosts = f"{a.hosts} against {_hosts(b.hosts)}"
    if layout.kind == "hosts":
        how = f"The same {_hosts(a.hosts)} on both sides, compared each with itself" if paired else hosts
        how += "; the interval covers variation between hosts."
    else:
        few = "one host" if a.hosts == b.hosts == 1 else hosts
        how = (
            f"Within {few}, over time ({a.clusters} and {b.clusters} slices of {layout.slice_s} s): too few "
            "hosts to tell how others would differ."
        )
    if adjusted:
        how += " How the two sides differed before is taken out."
    if concurrent:
        return how[0].upper() + how[1:]
    return (
        f"{how[0].upper()}{how[1:]} Not at the same time: whatever changed meanwhile (traffic) counts, too."
    )


def _hosts(count: int) -> str:
    return "1 host" if count == 1 else f"{count} hosts"


def describe_verdict(cpu: CpuChange, own: Effects, total: Effects) -> str:
    """What changed as a whole, and how many functions."""
    return f"{_describe_cpu(cpu)} {_describe_functions(own, total)}"


def _describe_cpu(cpu: CpuChange) -> str:
    if not cpu.a:
        return "A used no CPU."
    if np.isnan(cpu.low):
        return "Not enough data to tell whether CPU per host changed."
    interval = f"95 % interval {signed(cpu.low / cpu.a)} to {signed(cpu.high / cpu.a)}"
    change = f"{signed(cpu.delta / cpu.a)}, {interval}"
    if not cpu.significant:
        return f"B uses about as much CPU per host as A: {change}."
    return f"B uses {'more' if cpu.delta > 0 else 'less'} CPU per host than A: {change}."


def _describe_functions(own: Effects, total: Effects) -> str:
    tested = int((own.tested | total.tested).sum())
    found = int((own.significant | total.significant).sum())
    if not tested:
        return "There is not enough data to tell anything about single functions."
    few = f"{found} of {tested} functions moved" if tested > 1 else f"{found} of 1 function moved"
    return f"{few} beyond noise."


def describe_visible(total: Effects, unit: Unit, q: float) -> str:
    """The smallest changes that would have been seen."""
    tested = total.tested & np.isfinite(total.detectable)
    if not tested.any():
        return "Cannot tell: too few samples. Choose longer ranges or wider selections."
    parts = []
    for share in _SHOWN:
        value = share if unit == "share" else share * float(total.a.max())
        near = tested & (total.a > value / 2) & (total.a < value * 2)
        if near.any():
            parts.append(f"{_amount(float(np.median(total.detectable[near])), unit)} for {_size(share)}")
    if not parts:
        parts = [f"{_amount(float(np.median(total.detectable[tested])), unit)} for a function of medium size"]
    return f"Smallest change visible here: {', '.join(parts)}. False discovery rate {plain(100 * q)} %."


def _size(share: float) -> str:
    return f"a {plain(100 * share)} % function"


def _amount(value: float, unit: Unit) -> str:
    """A change that can be seen; "none" where it would have to be more than everything."""
    if unit == "share":
        return f"{plain(100 * value)} pp" if value < 1 else "none"
    return f"{plain(value)} cores per host"


def plain(value: float, digits: int = 2) -> str:
    """So many significant digits as people write them: 3000, 0.00002, never 3e+03."""
    return np.format_float_positional(value, precision=digits, unique=False, fractional=False, trim="-")


def signed(ratio: float) -> str:
    """A relative change with sign and one decimal, with a true minus."""
    text = f"{100 * ratio:+.1f} %"
    return ("0.0 %" if text in ("+0.0 %", "-0.0 %") else text).replace("-", "\N{MINUS SIGN}")
