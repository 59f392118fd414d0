"""`model.svg`: the model's graph, drawn with Graphviz' `dot` where it is installed, else with a layout of our own."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from bayesrun.report._graph_drawing import Mark, draw

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
    return f"{node.name}\n~ {node.distribution}" if node.distribution else node.name


def _attributes(node: Node) -> str:
    double = " peripheries=2" if _twice(node) else ""
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
    return [Mark(n.name, label(n), _SHAPE[n.kind], _FILL[n.kind], " x ".join(n.dims), _twice(n)) for n in graph.nodes]


def _twice(node: Node) -> bool:
    return node.discrete and node.kind in ("free", "observed")
