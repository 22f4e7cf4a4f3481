"""Plots as SVG, with logarithmic axes: panels side by side, for light and dark pages."""

import dataclasses
import html
import math

WIDTH, HEIGHT = 440, 320  # of a panel's axes
LEFT, TOP, RIGHT, BOTTOM = 80, 40, 40, 50  # around them
LEGEND = 18  # a line of it
STYLE = """
svg { font: 13px sans-serif; }
.page { fill: #ffffff; }
text { fill: #24292f; }
.title { font-weight: bold; }
.axis { fill: none; stroke: #57606a; }
.grid { stroke: #d8dee4; }
.line { fill: none; stroke-width: 2; }
.of0 { stroke: #bc4c00; } .of1 { stroke: #0969da; }
.mark.of0 { fill: #bc4c00; } .mark.of1 { fill: #0969da; }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117; }
  text { fill: #e6edf3; }
  .axis { stroke: #8b949e; }
  .grid { stroke: #30363d; }
  .of0 { stroke: #f0883e; } .of1 { stroke: #58a6ff; }
  .mark.of0 { fill: #f0883e; } .mark.of1 { fill: #58a6ff; }
}
"""
DASHES = ["", "7 4", "2 3"]


@dataclasses.dataclass
class Line:
    """Points of positive numbers. Lines of the same owner (0 or 1) have the same colour, and are dashed differently."""

    label: str
    points: list
    owner: int


@dataclasses.dataclass
class Panel:
    """Lines that share axes; the title says what the vertical one shows, and in which unit."""

    title: str
    lines: list


def _decades(values):
    """The powers of ten around them."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _number(power):
    return f"{10**power:,}" if power >= 0 else f"{10.0**power:.{-power}f}"


def _mark(x, y, owner):
    """A square for one owner, a circle for the other, so that colour isn't all."""
    if owner:
        return f'<circle class="mark of{owner}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    return f'<rect class="mark of{owner}" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>'


def _axes(panel, across, left_to_right, bottom_up):
    """The frame, a grid line and a number for each power of ten, and what the axes show."""
    yield f'<text class="title" x="0" y="-14">{html.escape(panel.title)}</text>'
    for power, x in left_to_right:
        yield f'<line class="grid" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{HEIGHT}"/>'
        yield f'<text x="{x:.1f}" y="{HEIGHT + 18}" text-anchor="middle">{_number(power)}</text>'
    for power, y in bottom_up:
        yield f'<line class="grid" x1="0" y1="{y:.1f}" x2="{WIDTH}" y2="{y:.1f}"/>'
        yield f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{_number(power)}</text>'
    yield f'<text x="{WIDTH / 2}" y="{HEIGHT + 38}" text-anchor="middle">{html.escape(across)}</text>'
    yield f'<rect class="axis" width="{WIDTH}" height="{HEIGHT}"/>'


def _panel(panel, across):
    """A panel whose axes begin at 0, 0."""
    points = [point for line in panel.lines for point in line.points]
    (x_low, x_high), (y_low, y_high) = (_decades([point[axis] for point in points]) for axis in (0, 1))

    def place(x, y):
        right, up = (math.log10(x) - x_low) / (x_high - x_low), (math.log10(y) - y_low) / (y_high - y_low)
        return right * WIDTH, (1 - up) * HEIGHT

    yield from _axes(
        panel, across,
        [(power, place(10.0**power, 10.0**y_low)[0]) for power in range(x_low, x_high + 1)],
        [(power, place(10.0**x_low, 10.0**power)[1]) for power in range(y_low, y_high + 1)],
    )
    seen = {}
    for number, line in enumerate(panel.lines):
        dashes = DASHES[seen.setdefault(line.owner, 0) % len(DASHES)]
        seen[line.owner] += 1
        style = f'class="line of{line.owner}" stroke-dasharray="{dashes or "none"}"'
        places = [place(*point) for point in line.points]
        yield f'<polyline {style} points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
        yield from (_mark(x, y, line.owner) for x, y in places)
        # Two to a row, below the axes.
        x, y = number % 2 * (WIDTH * 0.55), HEIGHT + BOTTOM + 12 + number // 2 * LEGEND
        yield f'<polyline {style} points="{x},{y} {x + 34},{y}"/>{_mark(x + 17, y, line.owner)}'
        yield f'<text x="{x + 42}" y="{y + 4}">{html.escape(line.label)}</text>'


def svg(panels, across):
    """The text of a file; across says what the horizontal axes show."""
    one = LEFT + WIDTH + RIGHT
    rows = max((len(panel.lines) + 1) // 2 for panel in panels)
    width, height = one * len(panels), TOP + HEIGHT + BOTTOM + 12 + rows * LEGEND
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
    ]
    for number, panel in enumerate(panels):
        out += [f'<g transform="translate({number * one + LEFT} {TOP})">', *_panel(panel, across), "</g>"]
    return "\n".join([*out, "</svg>", ""])
