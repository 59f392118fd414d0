"""The graph of a model: as it is written, or as the engine has it, and its drawing `model.svg`.

It is drawn by Graphviz' `dot` if that is installed, otherwise by Matplotlib.
"""

from __future__ import annotations

import ast
import io
import logging
import math
import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, FancyArrowPatch, FancyBboxPatch, Patch, Polygon
from matplotlib.path import Path as Line

from bayesrun.engines.base import GraphNode, ModelGraph
from bayesrun.figures.style import plain_style
from bayesrun.language.distributions import family
from bayesrun.language.formula_grammar import column_named
from bayesrun.language.kernel_checks import COMPOSED
from bayesrun.language.statements import ROWS, Statement, WrittenModel
from bayesrun.report.expression_notation import parsed
from bayesrun.report.graph_layout import Item, Layout, lay_out

if TYPE_CHECKING:
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

_OF_TERM = "variables of "
_KINDS = {"prior": "free", "likelihood": "observed", "potential": "potential"}

LAYER = 1.3  # inches from layer to layer
MARGIN = 0.18  # of a plate around its nodes
LABEL = 0.24  # height of a plate's label
CHARACTER = 0.082  # mean width at 9 points
LINE = 30  # characters of a line in a node


def write_graph(graph: ModelGraph, folder: RunFolder, written: Mapping[str, str]) -> Path:
    """Write `model.svg`.

    Parameters
    ----------
    graph
        Variables and edges.
    folder
        The run folder.
    written
        Distributions with their parameters, by node.
    """
    dot = shutil.which("dot")
    if dot:
        text = dot_text(graph, written)
        drawn = subprocess.run([dot, "-Tsvg"], input=text, capture_output=True, text=True, check=False)
        if drawn.returncode == 0:
            return folder.write_text("model.svg", drawn.stdout)
        log.debug("dot failed: %s", drawn.stderr)
    return folder.write("model.svg", lambda path: path.write_bytes(svg_of(tuple(_marks(graph, written)), graph)))


def written_distributions(model: Mapping[str, Any]) -> dict[str, str]:
    """Return the distributions of the priors of a config section `model`, as in the YAML: `Normal(0, 5)`."""
    bodies = {**(model.get("priors") or {}), **(model.get("likelihood") or {})}
    known = {name: body for name, body in bodies.items() if isinstance(body, Mapping) and "dist" in body}
    return {name: distribution_text(body) for name, body in known.items()}


def distribution_text(body: Mapping[str, Any]) -> str:
    """Return a distribution in one line; the names of parameters are left out where their order is clear."""
    known = family(str(body["dist"]))
    names = known.parameters if known else [name for name in body if name != "dist"]
    given = {name: _value(body[name]) for name in names if name in body}
    usual = len(given) == 1 or (known is not None and tuple(given) == known.location_scale)
    return f"{body['dist']}({', '.join(v if usual else f'{n}={v}' for n, v in given.items())})"


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list) and len(str(value)) > 16:
        return f"[{len(value)} values]"
    if isinstance(value, Mapping):
        return str(value["dist"]) if "dist" in value else _kernel_text(value)
    return str(value)


def _kernel_text(kernel: Mapping[str, Any]) -> str:
    """Return a covariance function by its name, sums and products of them as such."""
    name, parts = next(iter(kernel.items()))
    if name not in COMPOSED:
        return str(name)
    texts = [f"({_kernel_text(p)})" if name == "product" and "sum" in p else _kernel_text(p) for p in parts]
    return (" + " if name == "sum" else " * ").join(texts)


def dot_text(graph: ModelGraph, written: Mapping[str, str]) -> str:
    """Return the graph in Graphviz' language: plates for dims, observed nodes shaded, discrete ones outlined twice."""
    lines = ["digraph model {", '  node [fontname="Helvetica" fontsize=11 style=filled];', '  fontname="Helvetica";']
    for index, (dims, nodes) in enumerate(_plates(graph).items()):
        inside = [f"    {_quoted(n.name)} [{_attributes(n, written)}];" for n in nodes]
        if dims:
            title = _quoted(" x ".join(dims))
            lines += [f"  subgraph cluster_{index} {{", f"    label={title}; labeljust=r; labelloc=b; style=rounded;"]
            lines += [*inside, "  }"]
        else:
            lines += inside
    lines += [f"  {_quoted(parent)} -> {_quoted(child)};" for parent, child in graph.edges]
    return "\n".join([*lines, "}"]) + "\n"


def label(node: GraphNode, written: Mapping[str, str]) -> str:
    """Return the text of a node: its name, and its distribution below with the parameters of the YAML."""
    text = written.get(node.name) or node.distribution
    wrapped = textwrap.wrap(text, LINE - 2, break_long_words=False, break_on_hyphens=False) if text else []
    return "\n".join([node.name, *(f"~ {line}" if place == 0 else line for place, line in enumerate(wrapped))])


def _attributes(node: GraphNode, written: Mapping[str, str]) -> str:
    double = " peripheries=2" if _double(node) else ""
    text = _quoted(label(node, written))
    return f'label={text} shape={_SHAPE[node.kind]} fillcolor="{_FILL[node.kind]}"{double}'


def _plates(graph: ModelGraph) -> dict[tuple[str, ...], list[GraphNode]]:
    plates: dict[tuple[str, ...], list[GraphNode]] = {}
    for node in graph.nodes:
        plates.setdefault(node.dims, []).append(node)
    return plates


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', r"\"").replace("\n", r"\n") + '"'


def _marks(graph: ModelGraph, written: Mapping[str, str]) -> list[Mark]:
    return [
        Mark(n.name, label(n, written), _SHAPE[n.kind], _FILL[n.kind], " x ".join(n.dims), _double(n))
        for n in graph.nodes
    ]


def _double(node: GraphNode) -> bool:
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


@lru_cache(maxsize=8)
def svg_of(marks: tuple[Mark, ...], graph: ModelGraph) -> bytes:
    """Draw the nodes with plates around those of the same dims; return the SVG.

    The runs of a process often have the same graph: drawing it takes 0.05 s.
    """
    items = [Item(mark.name, mark.size[0], mark.plate) for mark in marks]
    layout = lay_out(items, graph.edges, MARGIN, {mark.plate: CHARACTER * len(mark.plate) + 0.3 for mark in marks})
    heights = _heights(marks, layout)
    plates = {plate: _plate_box(plate, marks, layout, heights) for plate in layout.plates}
    with plain_style():
        return _paint({mark.name: mark for mark in marks}, layout, heights, plates)


def _heights(marks: Sequence[Mark], layout: Layout) -> list[float]:
    """Return the y of each layer, high enough apart for its nodes and the labels of plates."""
    layers = max((layer for _, layer in layout.places.values()), default=0) + 1
    tallest = [max((m.size[1] for m in marks if layout.places[m.name][1] == k), default=0.0) for k in range(layers)]
    heights = [0.0]
    for above, below in pairwise(tallest):
        heights.append(heights[-1] - max(LAYER, (above + below) / 2 + 2 * MARGIN + LABEL + 0.3))
    return heights


def _plate_box(plate: str, marks: Sequence[Mark], layout: Layout, heights: Sequence[float]) -> _Box:
    inside = [_box(mark, layout, heights) for mark in marks if mark.plate == plate]
    bottom, top = min(b.bottom for b in inside) - MARGIN - LABEL, max(b.top for b in inside) + MARGIN
    left, right = layout.plates[plate]
    return _Box(left, bottom, right, top)


def _box(mark: Mark, layout: Layout, heights: Sequence[float]) -> _Box:
    (x, layer), (width, height) = layout.places[mark.name], mark.size
    y = heights[layer]
    return _Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _paint(marks: Mapping[str, Mark], layout: Layout, heights: Sequence[float], plates: Mapping[str, _Box]) -> bytes:

    boxes = [*plates.values(), *(_box(mark, layout, heights) for mark in marks.values())]
    bends = [x for points in layout.ways.values() for x, _ in points]
    left, right = min([*(b.left for b in boxes), *bends]) - 0.1, max([*(b.right for b in boxes), *bends]) + 0.1
    bottom, top = min(b.bottom for b in boxes) - 0.1, max(b.top for b in boxes) + 0.1
    figure = Figure(figsize=(right - left, top - bottom))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left, right), ylim=(bottom, top))
    axes.axis("off")
    for name, box in plates.items():
        _paint_plate(axes, name, box)
    at = {name: (x, heights[layer]) for name, (x, layer) in layout.places.items()}
    for (parent, child), points in layout.ways.items():
        way = [at[parent], *((x, heights[layer]) for x, layer in points), at[child]]
        _paint_edge(axes, marks[parent], marks[child], way)
    for name, mark in marks.items():
        _paint_node(axes, mark, at[name])
    svg = io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return svg.getvalue()


def _paint_plate(axes: Axes, name: str, box: _Box) -> None:

    size = (box.right - box.left - 0.1, box.top - box.bottom - 0.1)
    rounded = "round,pad=0.05,rounding_size=0.12"
    axes.add_patch(
        FancyBboxPatch((box.left + 0.05, box.bottom + 0.05), *size, rounded, fill=False, edgecolor="#777777")
    )
    axes.text(box.right - 0.1, box.bottom + 0.07, name, ha="right", va="bottom", fontsize=9)


def _paint_node(axes: Axes, mark: Mark, at: tuple[float, float]) -> None:
    width, height = mark.size
    for grown in (0.09, 0.0) if mark.double else (0.0,):
        axes.add_patch(_outline(mark, at, (width + grown, height + grown)))
    axes.text(*at, mark.text, ha="center", va="center", fontsize=9, zorder=4, parse_math=False)


def _outline(mark: Mark, centre: tuple[float, float], size: tuple[float, float]) -> Patch:

    (x, y), (a, b) = centre, (size[0] / 2, size[1] / 2)
    style: dict[str, Any] = {"facecolor": mark.fill, "edgecolor": "#333333", "zorder": 3}
    if mark.shape == "ellipse":
        return Ellipse(centre, *size, **style)
    cut = 0.1 if mark.shape == "octagon" else 0.0
    corners = [(a, b - cut), (a - cut, b), (cut - a, b), (-a, b - cut), (-a, cut - b), (cut - a, -b), (a - cut, -b)]
    return Polygon([(x + u, y + v) for u, v in [*corners, (a, cut - b)]], **style)


def _paint_edge(axes: Axes, parent: Mark, child: Mark, way: list[tuple[float, float]]) -> None:
    """Draw an arrow along a way from the outline of the parent to that of the child."""
    ends = _outline_point(parent, way[0], way[1]), _outline_point(child, way[-1], way[-2])
    line = Line([ends[0], *way[1:-1], ends[1]])
    axes.add_patch(FancyArrowPatch(path=line, arrowstyle="-|>", mutation_scale=11, color="#444444", zorder=2))


def _outline_point(mark: Mark, centre: tuple[float, float], towards: tuple[float, float]) -> tuple[float, float]:
    """Return where the line from a node's centre to another point crosses its outline."""
    dx, dy = towards[0] - centre[0], towards[1] - centre[1]
    a, b = (side / 2 + (0.045 if mark.double else 0.0) for side in mark.size)
    far = math.hypot(dx / a, dy / b) if mark.shape == "ellipse" else max(abs(dx) / a, abs(dy) / b)
    return (centre[0] + dx / far, centre[1] + dy / far) if far else centre


def written_graph(model: WrittenModel) -> tuple[ModelGraph, dict[str, str]]:
    """Return the graph of a model, and the distributions of its nodes as they are written.

    A coefficient of a formula's term is called `b[x]`, so that it is not taken for its column `x`.
    """
    graph = _Graph(model)
    for statement in model.statements:
        graph.add(statement)
    return graph.finished()


class _Graph:
    """A graph that is being made."""

    def __init__(self, model: WrittenModel) -> None:
        self._model = model
        self._nodes: dict[str, GraphNode] = {}
        self._written: dict[str, str] = {}
        self._uses: dict[str, list[str]] = {}

    def add(self, statement: Statement) -> None:
        """Add the node of a line; a line about several coefficients has several nodes."""
        known = family(str(statement.distribution.get("dist")))
        kind: Any = _KINDS.get(statement.kind, "deterministic")
        names = list(_coefficients(parsed(statement.left))) if statement.left else []
        for name in names or [statement.name]:
            self._nodes[name] = GraphNode(
                name,
                kind,
                str(statement.distribution.get("dist", "")),
                self._plate(statement.dims or ()),
                known is not None and known.discrete,
            )
            if statement.distribution:
                self._written[name] = distribution_text(statement.distribution)
            texts = [statement.expression, *_texts(statement.distribution)]
            self._uses.setdefault(name, []).extend(used for text in texts for used in _names(parsed(text)))

    def finished(self) -> tuple[ModelGraph, dict[str, str]]:
        """Return the graph with the data that its lines name."""
        used_by_others = {used for names in self._uses.values() for used in names}
        for names in self._uses.values():
            for term in [used for used in names if used.startswith(_OF_TERM)]:
                # the variables of a smooth bear its name: `weights_s_x`, `s_x`
                own = term.removeprefix(_OF_TERM)
                names += [n for n in self._nodes if n.endswith(own) and n not in used_by_others]
        for used in [name for names in self._uses.values() for name in names]:
            if used not in self._nodes and (used in self._model.dims or used in self._model.sizes):
                self._nodes[used] = GraphNode(used, "data", "", self._plate(self._model.dims.get(used, (used,))))
        edges = {
            (used, name) for name, names in self._uses.items() for used in names if used in self._nodes and used != name
        }
        return ModelGraph(tuple(self._nodes.values()), tuple(sorted(edges))), self._written

    def _plate(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        named = [(self._model.rows or ROWS) if dim == ROWS else dim for dim in dims]
        return tuple(f"{dim} ({self._model.sizes[dim]})" if dim in self._model.sizes else dim for dim in named)


def _texts(body: Any) -> Iterator[str]:
    """Yield the expressions of a distribution."""
    if isinstance(body, Mapping):
        for name, value in body.items():
            if name != "dist":
                yield from _texts(value)
    elif isinstance(body, list | tuple):
        for value in body:
            yield from _texts(value)
    elif isinstance(body, str):
        yield body


def _coefficients(tree: ast.expr) -> Iterator[str]:
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "coefficient":
            yield _coefficient(call)


def _coefficient(call: ast.Call) -> str:
    term, *of = (str(a.value) for a in call.args if isinstance(a, ast.Constant))
    return f"b[{', '.join([*of, term])}]"


def _names(tree: ast.expr) -> Iterator[str]:
    """Yield the names that an expression uses: variables, data, coefficients, and effects with their groups."""
    functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if id(node) not in functions:
                yield column_named(node.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            texts = [str(a.value) for a in node.args if isinstance(a, ast.Constant)]
            if node.func.id == "coefficient":
                yield _coefficient(node)
                levels = [part for keyword in node.keywords for part in getattr(keyword.value, "elts", [])]
                yield from (str(part.value) for part in levels if isinstance(part, ast.Constant))
            elif node.func.id == "effect":
                yield from (f"r_{texts[0]}", texts[0])
            elif node.func.id == "column":
                yield from _names(parsed(texts[0]))
                yield f"{_OF_TERM}{re.sub(r'[^A-Za-z0-9]+', '_', texts[0]).strip('_')}"
