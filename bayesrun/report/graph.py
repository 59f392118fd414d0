"""`model.svg`: the model's graph, drawn with Graphviz' `dot` where it is installed, else with a layout of our own."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesrun.inference._graph import ModelGraph, Node
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
    return folder.write("model.svg", lambda path: _draw(graph, path))


def dot_text(graph: ModelGraph) -> str:
    """Return the graph in Graphviz' language: plates for dims, observed shaded, discrete outlined twice."""
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
    """Return what a node says: its name, and its distribution below."""
    return f"{node.name}\n~ {node.law}" if node.law else node.name


def _attributes(node: Node) -> str:
    double = " peripheries=2" if node.discrete and node.kind in ("free", "observed") else ""
    text = _quoted(label(node))
    return f'label={text} shape={_SHAPE[node.kind]} fillcolor="{_FILL[node.kind]}"{double}'


def _plates(graph: ModelGraph) -> dict[tuple[str, ...], list[Node]]:
    plates: dict[tuple[str, ...], list[Node]] = {}
    for node in graph.nodes:
        plates.setdefault(node.dims, []).append(node)
    return plates


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', r"\"").replace("\n", r"\n") + '"'


def _draw(graph: ModelGraph, path: Path) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    layers = _layers(graph)
    widest = max(map(len, layers), default=1)
    figure = Figure(figsize=(1 + 2.1 * widest, 0.6 + 1.15 * len(layers)))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.6, widest - 0.4), ylim=(-len(layers) + 0.4, 0.6))
    axes.axis("off")
    places = {
        n.name: (i + (widest - len(row)) / 2, -depth) for depth, row in enumerate(layers) for i, n in enumerate(row)
    }
    boxes = {node.name: _box(axes, node, places[node.name]) for row in layers for node in row}
    for parent, child in graph.edges:
        _arrow(axes, places[parent], places[child], boxes[parent], boxes[child])
    figure.savefig(path, format="svg")


def _layers(graph: ModelGraph) -> list[list[Node]]:
    """Put every node below its parents; inside a layer, order by the parents' places so that few edges cross."""
    import networkx as nx

    tree = nx.DiGraph()
    tree.add_nodes_from(node.name for node in graph.nodes)
    tree.add_edges_from(graph.edges)
    by_name: dict[str, Node] = {node.name: node for node in graph.nodes}
    place: dict[str, float] = {}
    layers = []
    for generation in nx.topological_generations(tree):
        key = {n: sum(place[p] for p in tree.predecessors(n)) / max(1, tree.in_degree(n)) for n in generation}
        row = sorted(generation, key=lambda n: (key[n], n))
        place |= {name: i - len(row) / 2 for i, name in enumerate(row)}
        layers.append([by_name[name] for name in row])
    return layers


def _box(axes: Any, node: Node, place: tuple[float, float]) -> Any:
    style = "round4,pad=0.5" if node.kind in ("free", "observed") else "square,pad=0.4"
    text = label(node) + (f"\n{' x '.join(node.dims)}" if node.dims else "")
    return axes.text(
        *place,
        text,
        ha="center",
        va="center",
        fontsize=9,
        zorder=2,
        bbox={
            "boxstyle": style,
            "facecolor": _FILL[node.kind],
            "edgecolor": "#333333",
            "linewidth": 2.0 if node.discrete else 1.0,
        },
    )


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], first: Any, last: Any) -> None:
    from matplotlib.patches import FancyArrowPatch

    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=12,
            color="#555555",
            zorder=1,
            patchA=first.get_bbox_patch(),
            patchB=last.get_bbox_patch(),
            shrinkA=2,
            shrinkB=2,
        )
    )
