"""A run as an SVG, written by hand.

For each figure a row a contender: a bar from the minimum to the 95th percentile and a mark at the
median, on a logarithmic scale of the figure's own.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

from tests.bench.kinds import OURS
from tests.bench.report import number

if TYPE_CHECKING:
    from tests.bench.kinds import Line, Measured, Run

_WIDTH: Final = 900
_LEFT: Final = 150
_RIGHT: Final = 130
_ROW: Final = 18
_GAP: Final = 34
_OURS: Final = "#1f6feb"
_OTHERS: Final = "#8b949e"
_STYLE: Final = "font:12px system-ui,sans-serif;fill:#24292f"


def svg(run: Run) -> str:
    """The whole picture."""
    parts, top = [], _GAP
    for figure in run.figures:
        drawn = _figure(figure, top)
        parts += drawn
        top += _GAP + _ROW * len(_drawable(figure))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        f'viewBox="0 0 {_WIDTH} {top}"><rect width="100%" height="100%" fill="#fff"/>'
        f'<g style="{_STYLE}">'
    )
    return "\n".join([head, *parts, "</g></svg>"]) + "\n"


def _drawable(figure: Measured) -> list[Line]:
    """Lines of the figure's own unit: one scale has room for one."""
    return [line for line in figure.lines if line.unit == figure.unit and line.least > 0]


def _figure(figure: Measured, top: int) -> list[str]:
    lines = _drawable(figure)
    title = escape(f"{figure.name}: {figure.what} ({figure.unit})")
    parts = [f'<text x="8" y="{top - 8}" font-weight="600">{title}</text>']
    if not lines:
        return parts
    scale = Scale(
        min(min(line.least, line.p95) for line in lines),
        max(max(line.median, line.p95) for line in lines),
    )
    for at, line in enumerate(lines):
        parts += _line(line, scale, top + at * _ROW)
    return parts


class Scale:
    """Values to pixels, by their logarithms."""

    def __init__(self, least: float, most: float) -> None:
        self._low = math.log(least)
        self._span = max(math.log(most) - self._low, 1e-9)

    def __call__(self, value: float) -> float:
        share = (math.log(value) - self._low) / self._span
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(share, 0.0), 1.0), 1)


def _line(line: Line, scale: Scale, top: int) -> list[str]:
    colour = _OURS if line.name == OURS else _OTHERS
    ends = sorted((scale(line.least), scale(max(line.p95, line.least))))
    middle = scale(line.median)
    y = top + _ROW / 2
    wide = max(ends[1] - ends[0], 2.0)
    return [
        f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(line.name)}</text>',
        (
            f'<rect x="{ends[0]}" y="{y - 3}" width="{wide:.1f}" height="6" rx="3" '
            f'fill="{colour}" fill-opacity="0.35"/>'
        ),
        f'<circle cx="{middle}" cy="{y}" r="4.5" fill="{colour}"/>',
        (
            f'<text x="{_WIDTH - 8}" y="{y + 4}" text-anchor="end">'
            f"{escape(number(line.median))} {escape(line.unit)}</text>"
        ),
    ]
