"""Layered layout of a directed graph: parents above children, few crossings, members of a plate side by side.

The steps are Sugiyama's (layers, order within them, coordinates; doi:10.1109/TSMC.1981.4308636). An edge across
several layers gets a waypoint in each layer between, so that it passes beside the nodes there and not behind them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Edge = tuple[str, str]
Key = Hashable  # a node's name, or (edge, layer) for a waypoint
GAP = 0.35  # inches between neighbours
SWEEPS = 8


@dataclass(frozen=True)
class Item:
    """A node to place: width in inches, and the plate whose members stay together."""

    name: str
    width: float
    plate: str


@dataclass(frozen=True)
class Layout:
    """Centres of nodes, (x, layer), and the waypoints of each edge between its ends; x in inches, layers from 0."""

    places: Mapping[str, tuple[float, int]]
    ways: Mapping[Edge, tuple[tuple[float, int], ...]]


def lay_out(items: Sequence[Item], edges: Sequence[Edge]) -> Layout:
    """Place the nodes of a graph without cycles."""
    depth = _depths([item.name for item in items], edges)
    ways = {edge: [(edge, layer) for layer in range(depth[edge[0]] + 1, depth[edge[1]])] for edge in edges}
    layers: list[list[Key]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for item in sorted(items, key=lambda item: item.plate):
        layers[depth[item.name]].append(item.name)
    for points in ways.values():
        for point in points:
            layers[point[1]].append(point)
    links = [pair for edge, points in ways.items() for pair in _pairs([edge[0], *points, edge[1]])]
    plates = {item.name: item.plate for item in items}
    _order(layers, links, plates)
    x = _coordinates(layers, links, {item.name: item.width for item in items})
    return Layout(
        {name: (x[name], depth[name]) for name in depth},
        {edge: tuple((x[point], point[1]) for point in points) for edge, points in ways.items()},
    )


def _pairs(chain: Sequence[Key]) -> list[tuple[Key, Key]]:
    return list(pairwise(chain))


def _depths(names: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return the length of the longest path from a root; a root itself goes right above its uppermost child."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from(edges)
    depth = {name: layer for layer, row in enumerate(nx.topological_generations(graph)) for name in row}
    for name in names:
        if graph.in_degree(name) == 0 and graph.out_degree(name):
            depth[name] = min(depth[child] for child in graph.successors(name)) - 1
    return depth


def _order(layers: list[list[Key]], links: Sequence[tuple[Key, Key]], plates: Mapping[str, str]) -> None:
    """Sort each layer by the mean position of its neighbours, downwards and upwards in turn; plates stay together."""
    for sweep in range(SWEEPS):
        place = {key: index - len(row) / 2 for row in layers for index, key in enumerate(row)}
        for row in layers if sweep % 2 == 0 else layers[::-1]:
            wanted = {key: _mean(_neighbours(key, links), place, place[key]) for key in row}
            groups: dict[str, list[float]] = {}
            for key in row:
                groups.setdefault(_plate(key, plates), []).append(wanted[key])
            middle = {plate: sum(found) / len(found) for plate, found in groups.items()}
            ranked = sorted(
                (middle[_plate(key, plates)], _plate(key, plates), wanted[key], str(key), key) for key in row
            )
            row[:] = [key for *_, key in ranked]
            place |= {key: index - len(row) / 2 for index, key in enumerate(row)}


def _plate(key: Key, plates: Mapping[str, str]) -> str:
    """Return the plate of a node; a waypoint and a node without a plate are groups of their own."""
    found = plates.get(key, "") if isinstance(key, str) else ""
    return found or f"\0{key}"


def _neighbours(key: Key, links: Sequence[tuple[Key, Key]]) -> list[Key]:
    return [b if a == key else a for a, b in links if key in (a, b)]


def _mean(keys: Sequence[Key], values: Mapping[Key, float], default: float) -> float:
    return sum(values[key] for key in keys) / len(keys) if keys else default


def _coordinates(
    layers: Sequence[Sequence[Key]], links: Sequence[tuple[Key, Key]], widths: Mapping[str, float]
) -> dict[Key, float]:
    """Move the nodes of each layer towards their neighbours, as far as order and widths allow."""
    width = {key: widths[key] if isinstance(key, str) else 0.1 for row in layers for key in row}
    x: dict[Key, float] = {key: 0.0 for row in layers for key in row}
    for row in layers:
        x |= _spread(row, dict.fromkeys(row, 0.0), width)
    for sweep in range(SWEEPS):
        for row in layers if sweep % 2 == 0 else layers[::-1]:
            x |= _spread(row, {key: _mean(_neighbours(key, links), x, x[key]) for key in row}, width)
    return x


def _spread(row: Sequence[Key], wanted: Mapping[Key, float], width: Mapping[Key, float]) -> dict[Key, float]:
    """Return positions in the given order that do not overlap, on average at the wanted ones."""
    found: dict[Key, float] = {}
    for before, key in zip([None, *row], row, strict=False):
        least = -float("inf") if before is None else found[before] + (width[before] + width[key]) / 2 + GAP
        found[key] = max(wanted[key], least)
    shift = sum(wanted[key] - found[key] for key in row) / max(1, len(row))
    return {key: place + shift for key, place in found.items()}
