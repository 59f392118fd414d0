"""Layered layout of a directed graph: parents above children, few crossings, plates that enclose their members alone.

The steps are Sugiyama's (layers, order within them, coordinates; doi:10.1109/TSMC.1981.4308636), the coordinates those
that make the edges shortest under the order (Gansner et al. 1993, doi:10.1109/32.221135). Members of a plate stand
side by side in each layer, and all layers have the same order of plates, so that no other node comes between them. An
edge across several layers gets a waypoint in each layer between, so that it passes beside the nodes there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import pairwise

import numpy as np
from scipy.optimize import linprog

Edge = tuple[str, str]
Key = Hashable  # a node's name, or (edge, layer) for a waypoint
GAP = 0.35  # inches between neighbours
SWEEPS = 12
_WAYPOINT = 0.1  # width, inches
_STRAIGHT = 4.0  # how much more the length of an edge counts at its waypoints
_TIGHT = 0.1  # how much the width of a plate counts


@dataclass(frozen=True)
class Item:
    """A node to place: width in inches, and the plate whose members stay together; empty for none."""

    name: str
    width: float
    plate: str


@dataclass(frozen=True)
class Layout:
    """Centres of nodes, (x, layer), waypoints of each edge between its ends, and the left and right end of each plate.

    x is in inches, layers count from 0.
    """

    places: Mapping[str, tuple[float, int]]
    ways: Mapping[Edge, tuple[tuple[float, int], ...]]
    plates: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class _Graph:
    """Nodes and waypoints by layer, and the links between neighbouring layers.

    `groups` holds the plate of each node; a node without one, and a waypoint, is a group of its own. `ranks` is the
    order of the groups from left to right, the same in all layers.
    """

    layers: list[list[Key]]
    links: list[tuple[Key, Key]]
    groups: Mapping[Key, Hashable]
    widths: Mapping[Key, float]
    ranks: dict[Hashable, int]

    def span(self, plate: str) -> range:
        """Return the layers from the first to the last one with members of a plate."""
        inside = [i for i, layer in enumerate(self.layers) if any(self.groups[key] == plate for key in layer)]
        return range(inside[0], inside[-1] + 1)


def lay_out(
    items: Sequence[Item], edges: Sequence[Edge], margin: float = 0.0, least: Mapping[str, float] | None = None
) -> Layout:
    """Place the nodes of a graph without cycles.

    Parameters
    ----------
    items
        The nodes.
    edges
        Pairs of names, from parent to child.
    margin
        Room between a plate and its members, inches.
    least
        Least width of a plate, inches.
    """
    depth = _depths([item.name for item in items], edges)
    ways: dict[Edge, list[Key]] = {e: [(e, layer) for layer in range(depth[e[0]] + 1, depth[e[1]])] for e in edges}
    graph = _graph(items, depth, ways)
    _order(graph)
    x, plates = _coordinates(graph, sorted({item.plate for item in items} - {""}), margin, least or {})
    layer_of = {key: index for index, layer in enumerate(graph.layers) for key in layer}
    return Layout(
        {item.name: (x[item.name], depth[item.name]) for item in items},
        {edge: tuple((x[point], layer_of[point]) for point in points) for edge, points in ways.items()},
        plates,
    )


def _depths(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return the length of the longest path from a root; a root itself goes right above its uppermost child."""
    parents: dict[str, list[str]] = {name: [] for name in names}
    children: dict[str, list[str]] = {name: [] for name in names}
    for parent, child in edges:
        parents[child].append(parent)
        children[parent].append(child)
    depth: dict[str, int] = {}
    for name in TopologicalSorter(parents).static_order():
        depth[name] = max((depth[parent] + 1 for parent in parents[name]), default=0)
    for name in names:
        if not parents[name] and children[name]:
            depth[name] = min(depth[child] for child in children[name]) - 1
    return depth


def _graph(items: Sequence[Item], depth: Mapping[str, int], ways: Mapping[Edge, Sequence[Key]]) -> _Graph:
    layers: list[list[Key]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    groups: dict[Key, Hashable] = {item.name: item.plate or ("alone", item.name) for item in items}
    widths: dict[Key, float] = {item.name: item.width for item in items}
    for item in items:
        layers[depth[item.name]].append(item.name)
    for (parent, child), points in ways.items():
        for layer, point in enumerate(points, depth[parent] + 1):
            layers[layer].append(point)
            groups[point] = groups[parent] if groups[parent] == groups[child] else ("alone", point)
            widths[point] = _WAYPOINT
    links = [pair for edge, points in ways.items() for pair in pairwise([edge[0], *points, edge[1]])]
    return _Graph(layers, links, groups, widths, {})


def _order(graph: _Graph) -> None:
    """Sort groups by the mean position of their members' neighbours, and keep the order with the fewest crossings."""
    neighbours: dict[Key, list[Key]] = {key: [] for layer in graph.layers for key in layer}
    for parent, child in graph.links:
        neighbours[parent].append(child)
        neighbours[child].append(parent)
    best, fewest = ([list(layer) for layer in graph.layers], graph.ranks), float("inf")
    for _ in range(SWEEPS):
        place = {key: index - (len(layer) - 1) / 2 for layer in graph.layers for index, key in enumerate(layer)}
        wanted = {key: _mean([place[k] for k in neighbours[key]], place[key]) for key in place}
        members: dict[Hashable, list[float]] = {}
        for key, position in wanted.items():
            members.setdefault(graph.groups[key], []).append(position)
        middle = {group: sum(found) / len(found) for group, found in members.items()}
        ranked = sorted(middle, key=lambda group: (middle[group], str(group)))
        ranks = {group: rank for rank, group in enumerate(ranked)}
        for layer in graph.layers:
            layer.sort(key=lambda key: (ranks[graph.groups[key]], wanted[key], str(key)))
        crossings = _crossings(graph)
        if crossings < fewest:
            best, fewest = ([list(layer) for layer in graph.layers], ranks), crossings
    graph.layers[:], ranks = best
    graph.ranks.update(ranks)


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _crossings(graph: _Graph) -> int:
    """Count the pairs of links between the same layers that cross."""
    place = {key: (layer, index) for layer, row in enumerate(graph.layers) for index, key in enumerate(row)}
    ends = [(place[parent], place[child]) for parent, child in graph.links]
    return sum(
        a[0][0] == b[0][0] and (a[0][1] - b[0][1]) * (a[1][1] - b[1][1]) < 0
        for i, a in enumerate(ends)
        for b in ends[i + 1 :]
    )


def _coordinates(
    graph: _Graph, plates: Sequence[str], margin: float, least: Mapping[str, float]
) -> tuple[dict[Key, float], dict[str, tuple[float, float]]]:
    """Minimise the horizontal length of all links, with all gaps kept, as a linear programme.

    Unknowns are the x of each key, both ends of each plate, and a bound of the length of each link.
    """
    keys = [key for layer in graph.layers for key in layer]
    names: list[Hashable] = [*keys, *(end for plate in plates for end in _ends(plate)), *graph.links]
    column = {name: index for index, name in enumerate(names)}
    gaps = list(_gaps(graph, plates, margin, least))
    rows, limits = np.zeros((len(gaps) + 2 * len(graph.links), len(names))), np.zeros(len(gaps) + 2 * len(graph.links))
    for row, (left, right, gap) in enumerate(gaps):  # right - left >= gap
        rows[row, [column[left], column[right]]], limits[row] = (1, -1), -gap
    for row, (link, sign) in enumerate(((link, sign) for link in graph.links for sign in (1, -1)), len(gaps)):
        rows[row, [column[link[0]], column[link[1]], column[link]]] = (sign, -sign, -1)
    cost = np.zeros(len(names))
    cost[[column[link] for link in graph.links]] = [_STRAIGHT if _bends(link) else 1.0 for link in graph.links]
    for left, right in map(_ends, plates):
        cost[[column[left], column[right]]] = (-_TIGHT, _TIGHT)
    found = linprog(cost, rows, limits, bounds=[(0, None)] * len(names), method="highs")
    x = _centred(dict(zip(names, found.x, strict=True)), graph, gaps)
    return {key: x[key] for key in keys}, {plate: (x[_ends(plate)[0]], x[_ends(plate)[1]]) for plate in plates}


def _ends(plate: str) -> tuple[Hashable, Hashable]:
    return ("plate", plate, "left"), ("plate", plate, "right")


def _bends(link: tuple[Key, Key]) -> bool:
    return not all(isinstance(end, str) for end in link)


def _gaps(
    graph: _Graph, plates: Sequence[str], margin: float, least: Mapping[str, float]
) -> Iterator[tuple[Hashable, Hashable, float]]:
    """Yield what must be right of what, by how much."""
    for layer in graph.layers:
        for first, second in pairwise(layer):
            yield first, second, (graph.widths[first] + graph.widths[second]) / 2 + GAP
    for plate in plates:
        yield *_ends(plate), least.get(plate, 0.0)
        for index in graph.span(plate):
            for key in graph.layers[index]:
                yield from _beside_or_inside(key, plate, graph, margin)
        for other in plates:
            if graph.ranks[plate] < graph.ranks[other] and set(graph.span(plate)) & set(graph.span(other)):
                yield _ends(plate)[1], _ends(other)[0], GAP / 2


def _beside_or_inside(key: Key, plate: str, graph: _Graph, margin: float) -> Iterator[tuple[Hashable, Hashable, float]]:
    """Yield the gaps between a plate and a node of one of its layers."""
    (left, right), half, group = _ends(plate), graph.widths[key] / 2, graph.groups[key]
    if group == plate:
        yield left, key, half + margin
        yield key, right, half + margin
    elif graph.ranks[group] < graph.ranks[plate]:
        yield key, left, half + GAP / 2
    else:
        yield right, key, half + GAP / 2


def _centred(
    x: Mapping[Hashable, float], graph: _Graph, gaps: Sequence[tuple[Hashable, Hashable, float]]
) -> dict[Hashable, float]:
    """Move each node to the mean of its neighbours as far as the gaps allow: the shortest links leave that open."""
    moved = {name: float(value) for name, value in x.items()}
    for _ in range(SWEEPS):
        for key in (key for layer in graph.layers for key in layer):
            near = [moved[b if a == key else a] for a, b in graph.links if key in (a, b)]
            low = max((moved[a] + gap for a, b, gap in gaps if b == key), default=-np.inf)
            high = min((moved[b] - gap for a, b, gap in gaps if a == key), default=np.inf)
            moved[key] = float(np.clip(_mean(near, moved[key]), low, max(low, high)))
    return moved
