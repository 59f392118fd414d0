"""The graph of a model as it is written: a node per variable, an edge from each name that its line uses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from bayesrun.engines.base import ModelGraph, Node
from bayesrun.language.distributions import family
from bayesrun.language.formula_grammar import column_named
from bayesrun.language.statements import ROWS, Statement, WrittenModel
from bayesrun.report.expression_notation import parsed
from bayesrun.report.model_graph import distribution_text

_OF_TERM = "variables of "
_KINDS = {"prior": "free", "likelihood": "observed", "potential": "potential"}


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
        self._nodes: dict[str, Node] = {}
        self._written: dict[str, str] = {}
        self._uses: dict[str, list[str]] = {}

    def add(self, statement: Statement) -> None:
        """Add the node of a line; a line about several coefficients has several nodes."""
        known = family(str(statement.distribution.get("dist")))
        kind: Any = _KINDS.get(statement.kind, "deterministic")
        names = list(_coefficients(parsed(statement.left))) if statement.left else []
        for name in names or [statement.name]:
            self._nodes[name] = Node(
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
                self._nodes[used] = Node(used, "data", "", self._plate(self._model.dims.get(used, (used,))))
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
