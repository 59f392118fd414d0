"""What a recurrence in YAML says, and its errors that can be seen without data (`recurrence_reader` has the format)."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any

from bayesrun.errors import Problem, UserError, did_you_mean
from bayesrun.language.grammar import Expression, names_in, parse

KEYS = ("over", "state", "first", "step", "keep", "steps")
ROW = "t"
MAX_LAG = 1_000
ONLY_ROWS = "write y[t-1] for the row before, y[t-2] for the one before that, y for this row"


def lag_in(node: ast.AST) -> int | None:
    """Return k of an index `t-k`, 0 of `t`; None of any other index."""
    if isinstance(node, ast.Name) and node.id == ROW:
        return 0
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and lag_in(node.left) == 0:
        back = node.right
        if isinstance(back, ast.Constant) and isinstance(back.value, int) and 0 <= back.value <= MAX_LAG:
            return back.value
    return None


def mentions_row(index: ast.AST) -> bool:
    """Return whether an index depends on the row."""
    return any(isinstance(part, ast.Name) and part.id == ROW for part in ast.walk(index))


def names_used(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the names from outside of a recurrence that its expressions use."""
    own = set(steps_of(body))
    found: set[str] = set()
    for _, text in _texts(body):
        try:
            found |= _outer_names(parse(str(text), "").tree)
        except UserError:
            continue
    return frozenset(found - own)


def _outer_names(tree: ast.expr) -> frozenset[str]:
    """Return the names in an expression, without the `t` of its indices."""
    inside = [n for n in ast.walk(tree) if isinstance(n, ast.Subscript) and mentions_row(n.slice)]
    counted = {id(part) for n in inside for part in ast.walk(n.slice) if isinstance(part, ast.Name) and part.id == ROW}
    if not counted:
        return names_in(tree)
    others = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in counted}
    return frozenset(names_in(tree) & others)


def steps_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is computed at each row, by name; empty where that is no mapping."""
    given = body.get("step")
    return {str(name): text for name, text in given.items()} if isinstance(given, Mapping) else {}


def lags_in(body: Mapping[str, Any]) -> dict[str, int]:
    """Return how many earlier rows the steps of a recurrence use of each variable."""
    lags: dict[str, int] = {}
    for text in steps_of(body).values() if isinstance(body, Mapping) else ():
        try:
            tree = parse(str(text), "").tree
        except UserError:
            continue
        for node in subscripts(tree):
            back = lag_in(node.slice)
            if back and isinstance(node.value, ast.Name):
                lags[node.value.id] = max(back, lags.get(node.value.id, 0))
    return lags


def _texts(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the expressions of a recurrence with their keys."""
    for section in ("state", "first", "step"):
        entries = body.get(section)
        for name, given in entries.items() if isinstance(entries, Mapping) else ():
            if isinstance(given, Sequence) and not isinstance(given, str):
                yield from ((f"{section}.{name}[{i}]", one) for i, one in enumerate(given))
            else:
                yield f"{section}.{name}", given
    if body.get("steps") is not None:
        yield "steps", body["steps"]


def recurrence_problems(key: str, body: Any) -> list[Problem]:
    """Find the errors in a recurrence that can be detected without data.

    Parameters
    ----------
    key
        Its config key.
    body
        What the YAML says.
    """
    if not isinstance(body, Mapping):
        return [Problem(key, f"must be a recurrence (got {body!r})", "write {over: DIM, step: {NAME: expression}}")]
    problems = [
        Problem(f"{key}.{name}", f"unknown key '{name}'", did_you_mean(str(name), KEYS))
        for name in body
        if name not in KEYS
    ]
    if not isinstance(body.get("over"), str):
        problems.append(Problem(f"{key}.over", "is required: the dim along which it runs", "write over: week"))
    if not steps_of(body):
        problems.append(Problem(f"{key}.step", "is required: what is computed at each row", "{NAME: expression}"))
    for section in ("state", "first"):
        if body.get(section) is not None and not isinstance(body[section], Mapping):
            problems.append(Problem(f"{key}.{section}", f"must map names to values (got {body[section]!r})"))
    problems += _kept_problems(key, body)
    for where, text in _texts(body):
        problems += _text_problems(f"{key}.{where}", text)
    return problems or list(_use_problems(key, body))


def _kept_problems(key: str, body: Mapping[str, Any]) -> Iterator[Problem]:
    keep = body.get("keep") or []
    if isinstance(keep, str) or not isinstance(keep, Sequence):
        yield Problem(f"{key}.keep", f"must be a list of names (got {keep!r})", "write keep: [NAME]")
        return
    for i, name in enumerate(keep):
        if name not in steps_of(body):
            yield Problem(f"{key}.keep[{i}]", f"the step has no '{name}'", did_you_mean(str(name), steps_of(body)))


def _text_problems(key: str, text: Any) -> list[Problem]:
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        return [Problem(key, f"must be an expression (got {text!r})")]
    try:
        parse(str(text), key)
    except UserError as error:
        return list(error.problems)
    return []


def _use_problems(key: str, body: Mapping[str, Any]) -> Iterator[Problem]:
    """Find lags without a value before the first row, values that nothing uses, and definitions in a circle."""
    steps = {name: parse(str(text), f"{key}.step.{name}") for name, text in steps_of(body).items()}
    lags: dict[str, int] = {}
    for name, expression in steps.items():
        covered = len(listed(body, "first", name))
        for node in subscripts(expression.tree):
            back = lag_in(node.slice)
            if back is None or not isinstance(node.value, ast.Name):
                yield expression.problem(node, "a row is counted from the current one, t, backwards", ONLY_ROWS)
            elif back:
                lags[node.value.id] = max(back, lags.get(node.value.id, 0))
                yield from _uncovered(expression, node, back, covered, body)
    for name in body.get("first") or {}:
        if name not in steps:
            yield Problem(f"{key}.first.{name}", f"the step has no '{name}'", did_you_mean(str(name), steps))
    for name in body.get("state") or {}:
        if name not in lags:
            message = f"no expression uses the value of '{name}' at an earlier row"
            yield Problem(f"{key}.state.{name}", message, f"write {name}[t-1] where it is meant, or remove it")
    yield from _circle(key, steps)


def _uncovered(
    expression: Expression, node: ast.Subscript, back: int, covered: int, body: Mapping[str, Any]
) -> Iterator[Problem]:
    """Find a lag that reaches further back than the values that are given."""
    assert isinstance(node.value, ast.Name)
    name = node.value.id
    given = listed(body, "state", name)
    several = isinstance((body.get("state") or {}).get(name), Sequence) and not isinstance(body["state"][name], str)
    reaches = back - covered  # rows before the first one that are needed
    if reaches <= 0 or (given and not several) or reaches <= len(given):
        return
    own = expression.key.rpartition(".")[2]
    hint = f"write state: {{{name}: value}}, or first: {{{own}: value}} for '{own}' at the first row"
    yield expression.problem(node, f"'{name}' has no value {reaches} rows before the first one", hint)


def listed(body: Mapping[str, Any], section: str, name: str) -> list[Any]:
    """Return the values of a variable in `state` or `first`: none, one or several."""
    given = (body.get(section) or {}).get(name)
    if given is None:
        return []
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]


def subscripts(tree: ast.AST) -> Iterator[ast.Subscript]:
    """Yield the indices that name a row."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and mentions_row(node.slice):
            yield node


def _same_row(tree: ast.AST) -> Iterator[str]:
    """Yield the names that are used at the same row."""
    if isinstance(tree, ast.Subscript) and mentions_row(tree.slice):
        if lag_in(tree.slice) == 0 and isinstance(tree.value, ast.Name):
            yield tree.value.id
        return
    if isinstance(tree, ast.Name):
        yield tree.id
    for child in ast.iter_child_nodes(tree):
        yield from _same_row(child)


def _circle(key: str, steps: Mapping[str, Expression]) -> Iterator[Problem]:
    try:
        ordered(steps)
    except CycleError as error:
        names = list(reversed(error.args[1]))
        if len(names) == 2:
            message = f"'{names[0]}' is defined by its own value at the same row"
        else:
            message = f"these are defined by each other at the same row: {' <- '.join(names)}"
        yield Problem(f"{key}.step.{names[0]}", message, f"write {names[0]}[t-1] for its value at the row before")


def ordered(steps: Mapping[str, Expression]) -> list[str]:
    """Return the names of the steps, each after those that it needs at the same row.

    Raises
    ------
    CycleError
        When steps need each other.
    """
    needs = {name: [other for other in _same_row(one.tree) if other in steps] for name, one in steps.items()}
    return list(TopologicalSorter(needs).static_order())
