"""A model's graph drawn with matplotlib, for machines without Graphviz."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrun.report._layered import Item, Layout, lay_out

if TYPE_CHECKING:
    from bayesrun.engines.base import ModelGraph

LAYER = 1.3  # inches from layer to layer
MARGIN = 0.18  # of a plate around its nodes
LABEL = 0.24  # height of a plate's label
CHARACTER = 0.082  # mean width at 9 points


@dataclass(frozen=True)
class Mark:
    """A node as it is drawn: its text, shape (`ellipse`, `box`, `octagon`), fill, plate, and whether lined twice."""

    name: str
    text: str
    shape: str
    fill: str
    plate: str
    double: bool

    @property
    def size(self) -> tuple[float, float]:
        """Width and height, inches."""
        lines = self.text.split("\n")
        width, height = CHARACTER * max(map(len, lines)) + 0.2, 0.16 * len(lines) + 0.16
        return (1.3 * width, 1.4 * height) if self.shape == "ellipse" else (width, height)


@dataclass(frozen=True)
class _Box:
    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: _Box) -> bool:
        """Whether the two overlap."""
        aside = self.right <= other.left or other.right <= self.left
        return not (aside or self.top <= other.bottom or other.top <= self.bottom)


def draw(marks: Sequence[Mark], graph: ModelGraph, path: Path) -> None:
    """Draw the nodes with plates around those of the same dims, and write an SVG file.

    A plate that would enclose other nodes is left out, and its nodes say their dims themselves.
    """
    layout, plates = _plated(marks, graph)
    torn = {mark.plate for mark in marks if mark.plate and mark.plate not in plates}
    if torn:
        marks = [_saying_dims(mark) if mark.plate in torn else mark for mark in marks]
        layout, plates = _plated(marks, graph)
    _paint({mark.name: mark for mark in marks}, layout, plates, path)


def _saying_dims(mark: Mark) -> Mark:
    return Mark(mark.name, f"{mark.text}\n{mark.plate}", mark.shape, mark.fill, "", mark.double)


def _plated(marks: Sequence[Mark], graph: ModelGraph) -> tuple[Layout, dict[str, _Box]]:
    layout = lay_out([Item(m.name, m.size[0] + 2 * MARGIN * bool(m.plate), m.plate) for m in marks], graph.edges)
    boxes = {mark.name: _box(mark, layout) for mark in marks}
    wanted = {plate: [m.name for m in marks if m.plate == plate] for plate in sorted({m.plate for m in marks} - {""})}
    around = {plate: _around([boxes[name] for name in names], plate) for plate, names in wanted.items()}
    clear = {
        plate: box
        for plate, box in around.items()
        if not any(box.meets(boxes[m.name]) for m in marks if m.plate != plate)
        and not any(box.meets(other) for name, other in around.items() if name != plate)
    }
    return layout, clear


def _box(mark: Mark, layout: Layout) -> _Box:
    (x, layer), (width, height) = layout.places[mark.name], mark.size
    return _Box(x - width / 2, -LAYER * layer - height / 2, x + width / 2, -LAYER * layer + height / 2)


def _around(boxes: Sequence[_Box], label: str) -> _Box:
    left, right = min(b.left for b in boxes) - MARGIN, max(b.right for b in boxes) + MARGIN
    short = max(0.0, CHARACTER * len(label) + 0.2 - (right - left)) / 2
    bottom, top = min(b.bottom for b in boxes) - MARGIN - LABEL, max(b.top for b in boxes) + MARGIN
    return _Box(left - short, bottom, right + short, top)


def _paint(marks: Mapping[str, Mark], layout: Layout, plates: Mapping[str, _Box], path: Path) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    boxes = [*plates.values(), *(_box(mark, layout) for mark in marks.values())]
    left, right = min(b.left for b in boxes) - 0.1, max(b.right for b in boxes) + 0.1
    bottom, top = min(b.bottom for b in boxes) - 0.1, max(b.top for b in boxes) + 0.1
    figure = Figure(figsize=(right - left, top - bottom))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.axis("off")
    for name, box in plates.items():
        _paint_plate(axes, name, box)
    for (parent, child), points in layout.ways.items():
        _paint_edge(axes, marks[parent], marks[child], layout, points)
    for mark in marks.values():
        _paint_node(axes, mark, layout)
    figure.savefig(path, format="svg")


def _paint_plate(axes: Any, name: str, box: _Box) -> None:
    from matplotlib.patches import FancyBboxPatch

    size = (box.right - box.left - 0.1, box.top - box.bottom - 0.1)
    rounded = "round,pad=0.05,rounding_size=0.12"
    axes.add_patch(
        FancyBboxPatch((box.left + 0.05, box.bottom + 0.05), *size, rounded, fill=False, edgecolor="#777777")
    )
    axes.text(box.right - 0.1, box.bottom + 0.07, name, ha="right", va="bottom", fontsize=9)


def _paint_node(axes: Any, mark: Mark, layout: Layout) -> None:
    x, layer = layout.places[mark.name]
    width, height = mark.size
    for grown in (0.09, 0.0) if mark.double else (0.0,):
        axes.add_patch(_outline(mark, (x, -LAYER * layer), (width + grown, height + grown)))
    axes.text(x, -LAYER * layer, mark.text, ha="center", va="center", fontsize=9, zorder=4, parse_math=False)


def _outline(mark: Mark, centre: tuple[float, float], size: tuple[float, float]) -> Any:
    from matplotlib.patches import Ellipse, Polygon

    (x, y), (a, b) = centre, (size[0] / 2, size[1] / 2)
    style: dict[str, Any] = {"facecolor": mark.fill, "edgecolor": "#333333", "zorder": 3}
    if mark.shape == "ellipse":
        return Ellipse(centre, *size, **style)
    cut = 0.1 if mark.shape == "octagon" else 0.0
    corners = [(a, b - cut), (a - cut, b), (cut - a, b), (-a, b - cut), (-a, cut - b), (cut - a, -b), (a - cut, -b)]
    return Polygon([(x + u, y + v) for u, v in [*corners, (a, cut - b)]], **style)


def _paint_edge(axes: Any, parent: Mark, child: Mark, layout: Layout, points: Sequence[tuple[float, int]]) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Line

    ends = layout.places[parent.name], layout.places[child.name]
    way = [(x, -LAYER * layer) for x, layer in (ends[0], *points, ends[1])]
    way[0], way[-1] = _rim(parent, way[0], way[1]), _rim(child, way[-1], way[-2])
    axes.add_patch(FancyArrowPatch(path=Line(way), arrowstyle="-|>", mutation_scale=11, color="#444444", zorder=2))


def _rim(mark: Mark, centre: tuple[float, float], towards: tuple[float, float]) -> tuple[float, float]:
    """Where the line from a node's centre to another point leaves its outline."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    a, b = (side / 2 + (0.045 if mark.double else 0.0) for side in mark.size)
    far = math.hypot(dx / a, dy / b) if mark.shape == "ellipse" else max(abs(dx) / a, abs(dy) / b)
    return (centre[0] + dx / far, centre[1] + dy / far) if far else centre
