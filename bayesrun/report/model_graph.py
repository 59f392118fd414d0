"""`model.svg`: the model's graph, drawn by Graphviz' `dot` if it is installed, otherwise by Matplotlib."""

from __future__ import annotations

import logging
import math
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrun.report._graph_layout import Item, Layout, lay_out

if TYPE_CHECKING:
    from bayesrun.engines.base import ModelGraph, Node
    from bayesrun.run_folder import RunFolder

log = logging.getLogger("bayesrun.report")

_FILL = {
    "free": "#ffffff",
    "observed": "#d0d0d0",
    "deterministic": "#eef4fb",
    "potential": "#fbf3e6",
    "data": "#f2f2f2",
}
_SHAPE = {"free": "ellipse", "observed": "ellipse", "deterministic": "box", "potential": "octagon", "data": "box"}

LAYER = 1.3  # inches from layer to layer
MARGIN = 0.18  # of a plate around its nodes
LABEL = 0.24  # height of a plate's label
CHARACTER = 0.082  # mean width at 9 points


def write_graph(graph: ModelGraph, folder: RunFolder) -> Path:
    """Write `model.svg`.

    Parameters
    ----------
    graph
        Variables and edges.
    folder
        The run folder.
    """
    dot = shutil.which("dot")
    if dot:
        drawn = subprocess.run([dot, "-Tsvg"], input=dot_text(graph), capture_output=True, text=True, check=False)
        if drawn.returncode == 0:
            return folder.write_text("model.svg", drawn.stdout)
        log.debug("dot failed: %s", drawn.stderr)
    return folder.write("model.svg", lambda path: draw(_marks(graph), graph, path))


def dot_text(graph: ModelGraph) -> str:
    """Return the graph in Graphviz' language: plates for dims, observed nodes shaded, discrete ones outlined twice."""
    lines = ["digraph model {", '  node [fontname="Helvetica" fontsize=11 style=filled];', '  fontname="Helvetica";']
    for index, (dims, nodes) in enumerate(_plates(graph).items()):
        inside = [f"    {_quoted(n.name)} [{_attributes(n)}];" for n in nodes]
        if dims:
            label = _quoted(" x ".join(dims))
            lines += [f"  subgraph cluster_{index} {{", f"    label={label}; labeljust=r; labelloc=b; style=rounded;"]
            lines += [*inside, "  }"]
        else:
            lines += inside
    lines += [f"  {_quoted(parent)} -> {_quoted(child)};" for parent, child in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def label(node: Node) -> str:
    """Return the text of a node: its name, and its distribution below."""
    return f"{node.name}\n~ {node.distribution}" if node.distribution else node.name


def _attributes(node: Node) -> str:
    double = " peripheries=2" if _double(node) else ""
    text = _quoted(label(node))
    return f'label={text} shape={_SHAPE[node.kind]} fillcolor="{_FILL[node.kind]}"{double}'


def _plates(graph: ModelGraph) -> dict[tuple[str, ...], list[Node]]:
    plates: dict[tuple[str, ...], list[Node]] = {}
    for node in graph.nodes:
        plates.setdefault(node.dims, []).append(node)
    return plates


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', r"\"").replace("\n", r"\n") + '"'


def _marks(graph: ModelGraph) -> list[Mark]:
    return [Mark(n.name, label(n), _SHAPE[n.kind], _FILL[n.kind], " x ".join(n.dims), _double(n)) for n in graph.nodes]


def _double(node: Node) -> bool:
    return node.discrete and node.kind in ("free", "observed")


@dataclass(frozen=True)
class Mark:
    """A node to draw: its text, shape (`ellipse`, `box`, `octagon`), fill, plate, whether outlined twice."""

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
        """Return whether both boxes overlap."""
        aside = self.right <= other.left or other.right <= self.left
        return not (aside or self.top <= other.bottom or other.top <= self.bottom)


def draw(marks: Sequence[Mark], graph: ModelGraph, path: Path) -> None:
    """Draw the nodes with plates around those of the same dims, and write an SVG file.

    A plate that would enclose other nodes is left out, and its nodes show their dims themselves.
    """
    layout, plates = _plated(marks, graph)
    split = {mark.plate for mark in marks if mark.plate and mark.plate not in plates}
    if split:
        marks = [_with_dims(mark) if mark.plate in split else mark for mark in marks]
        layout, plates = _plated(marks, graph)
    _paint({mark.name: mark for mark in marks}, layout, plates, path)


def _with_dims(mark: Mark) -> Mark:
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
    way[0], way[-1] = _outline_point(parent, way[0], way[1]), _outline_point(child, way[-1], way[-2])
    axes.add_patch(FancyArrowPatch(path=Line(way), arrowstyle="-|>", mutation_scale=11, color="#444444", zorder=2))


def _outline_point(mark: Mark, centre: tuple[float, float], towards: tuple[float, float]) -> tuple[float, float]:
    """Return where the line from a node's centre to another point crosses its outline."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    a, b = (side / 2 + (0.045 if mark.double else 0.0) for side in mark.size)
    far = math.hypot(dx / a, dy / b) if mark.shape == "ellipse" else max(abs(dx) / a, abs(dy) / b)
    return (centre[0] + dx / far, centre[1] + dy / far) if far else centre
