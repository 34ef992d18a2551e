"""Plots as pieces of a page: shapes that stretch with their box, labels that stay text and keep their size.

A plot is an SVG without proportions (0 to 1000 across, 0 to 1000 down) under labels that are placed in percent; colours
are classes, so that the page's style decides them for a light and a dark screen.
"""

from collections.abc import Sequence
from html import escape
from math import ceil, floor, log10

from msgspec import Struct

SPAN = 1000.0


class Line(Struct, frozen=True, kw_only=True):
    """One column of values at equal distances; a `step` line holds each value until the next, a `filled` one has an
    area down to zero."""

    name: str
    css: str
    values: Sequence[float]
    step: bool = False
    filled: bool = False
    dashed: bool = False


class Axis(Struct, frozen=True, kw_only=True):
    """From `low` to `high` with round marks in between."""

    low: float
    high: float
    marks: tuple[float, ...]

    def y(self, value: float) -> float:
        """From the top, 0 to `SPAN`."""
        return round(SPAN * (self.high - value) / (self.high - self.low), 1)

    def x(self, value: float) -> float:
        """From the left, in percent."""
        return round(100.0 * (value - self.low) / (self.high - self.low), 2)


def axis(values: Sequence[float], *, marks: int = 4, least: float = 1.0) -> Axis:
    """Round marks that hold zero and all values."""
    low, high = min(0.0, *values), max(0.0, *values)
    if high - low < least:
        high = low + least
    step = _round_step((high - low) / marks)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    found = tuple(round(index * step, 10) for index in range(first, last + 1))
    return Axis(low=found[0], high=found[-1], marks=found)


def _round_step(raw: float) -> float:
    size = 10.0 ** floor(log10(raw))
    return float(next(factor for factor in (1, 2, 2.5, 5, 10) if factor * size >= raw * 0.999) * size)


def figure(
    lines: Sequence[Line], *, title: str, unit: str, ticks: Sequence[tuple[float, str]], hovers: Sequence[str] = (),
    scale: Axis | None = None, css: str = "",
) -> str:  # fmt: skip
    """A plot of lines with its legend; `ticks` are places in percent with their texts, `hovers` one text a value."""
    shown = scale or axis([value for line in lines for value in line.values])
    shapes = [f'<line class="grid" x1="0" x2="1000" y1="{shown.y(m)}" y2="{shown.y(m)}"/>' for m in shown.marks]
    shapes += [f'<line class="zero" x1="0" x2="1000" y1="{shown.y(0)}" y2="{shown.y(0)}"/>'] if shown.low < 0 else []
    shapes += [shape for line in lines for shape in _shapes(line, shown)]
    width = SPAN / max(len(hovers), 1)
    shapes += [
        f'<rect class="hover" x="{index * width:.1f}" y="0" width="{width:.1f}" height="1000">'
        f"<title>{escape(text)}</title></rect>"
        for index, text in enumerate(hovers)
    ]
    legend = "".join(f'<span class="key {line.css}{_dashed(line)}">{escape(line.name)}</span>' for line in lines)
    return (
        f'<figure class="plot {css}"><figcaption><b>{escape(title)}</b> <i>{escape(unit)}</i>{legend}</figcaption>'
        f'<div class="box"><svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(title)}">{"".join(shapes)}</svg>{labels(shown)}{_ticks(ticks)}</div></figure>'
    )


def labels(shown: Axis) -> str:
    """The marks of a vertical axis as text."""
    return "".join(
        f'<span class="y" style="top:{shown.y(mark) / 10:.2f}%">{number(mark)}</span>' for mark in shown.marks
    )


def _ticks(ticks: Sequence[tuple[float, str]]) -> str:
    return "".join(
        f'<span class="x{" minor" if index % 2 else ""}" style="left:{at:.2f}%">{escape(text)}</span>'
        for index, (at, text) in enumerate(ticks)
    )


def _dashed(line: Line) -> str:
    return " dashed" if line.dashed else ""


def _shapes(line: Line, shown: Axis) -> list[str]:
    count = len(line.values)
    if line.step:
        width = SPAN / count
        points = [
            point
            for index, value in enumerate(line.values)
            for point in ((index * width, shown.y(value)), ((index + 1) * width, shown.y(value)))
        ]
    else:
        width = SPAN / count
        points = [((index + 1) * width, shown.y(value)) for index, value in enumerate(line.values)]
    text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    found = []
    if line.filled:
        base = shown.y(0.0)
        found.append(f'<polygon class="{line.css}" points="{points[0][0]:.1f},{base} {text} {SPAN},{base}"/>')
    found.append(f'<polyline class="{line.css}{_dashed(line)}" points="{text}"/>')
    return found


def number(value: float) -> str:
    """A mark's value without needless digits."""
    return f"{value:g}".replace("-", "−")
