"""From a recurrence in YAML to its program, whose inputs are values of the model.

recurrence:
  over: week                             # the dim along which it runs
  state: {y: mu, err: 0}                 # values before the first row
  step:                                  # values at each row t
    fitted: mu + phi * y[t-1] + theta * err[t-1]
    err: y - fitted
  keep: [err]                            # which of them the posterior keeps

Within a step a name means its value at the same row, and `name[t-1]` that at the row before. Whatever depends on no
variable of the recurrence and on no earlier row is computed for all rows at once, outside of the program.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np

from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.language.expressions import read, value_of
from bayesrun.language.functions import ELEMENTWISE, operation_of
from bayesrun.language.grammar import Expression, names_in, parse
from bayesrun.language.operations import OPERATIONS, Call
from bayesrun.language.recurrences import STEP_OPERATIONS, Instruction, Program, StepVariable, run
from bayesrun.language.scope import Scope
from bayesrun.language.time_steps import all_equal, step_lengths
from bayesrun.language.values import Fault, Value, compute, conform, constant, node_of

KEYS = ("over", "state", "first", "step", "keep", "steps")
ROW = "t"
MAX_LAG = 1_000
_ONLY_ROWS = "write y[t-1] for the row before, y[t-2] for the one before that, y for this row"


def lag_in(node: ast.AST) -> int | None:
    """Return k of an index `t-k`, 0 of `t`; None of any other index."""
    if isinstance(node, ast.Name) and node.id == ROW:
        return 0
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and lag_in(node.left) == 0:
        back = node.right
        if isinstance(back, ast.Constant) and isinstance(back.value, int) and 0 <= back.value <= MAX_LAG:
            return back.value
    return None


def _mentions_row(index: ast.AST) -> bool:
    return any(isinstance(part, ast.Name) and part.id == ROW for part in ast.walk(index))


def names_used(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the names from outside of a recurrence that its expressions use."""
    own = set(_steps(body))
    found: set[str] = set()
    for _, text in _texts(body):
        try:
            found |= _outer_names(parse(str(text), "").tree)
        except UserError:
            continue
    return frozenset(found - own)


def _outer_names(tree: ast.expr) -> frozenset[str]:
    """Return the names in an expression, without the `t` of its indices."""
    inside = [n for n in ast.walk(tree) if isinstance(n, ast.Subscript) and _mentions_row(n.slice)]
    counted = {id(part) for n in inside for part in ast.walk(n.slice) if isinstance(part, ast.Name) and part.id == ROW}
    if not counted:
        return names_in(tree)
    others = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in counted}
    return frozenset(names_in(tree) & others)


def _steps(body: Mapping[str, Any]) -> dict[str, Any]:
    given = body.get("step")
    return {str(name): text for name, text in given.items()} if isinstance(given, Mapping) else {}


def lags_in(body: Mapping[str, Any]) -> dict[str, int]:
    """Return how many earlier rows the steps of a recurrence use of each variable."""
    lags: dict[str, int] = {}
    for text in _steps(body).values() if isinstance(body, Mapping) else ():
        try:
            tree = parse(str(text), "").tree
        except UserError:
            continue
        for node in _subscripts(tree):
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
    if not _steps(body):
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
        if name not in _steps(body):
            yield Problem(f"{key}.keep[{i}]", f"the step has no '{name}'", did_you_mean(str(name), _steps(body)))


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
    steps = {name: parse(str(text), f"{key}.step.{name}") for name, text in _steps(body).items()}
    lags: dict[str, int] = {}
    for name, expression in steps.items():
        covered = len(_listed(body, "first", name))
        for node in _subscripts(expression.tree):
            back = lag_in(node.slice)
            if back is None or not isinstance(node.value, ast.Name):
                yield expression.problem(node, "a row is counted from the current one, t, backwards", _ONLY_ROWS)
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
    given = _listed(body, "state", name)
    several = isinstance((body.get("state") or {}).get(name), Sequence) and not isinstance(body["state"][name], str)
    reaches = back - covered  # rows before the first one that are needed
    if reaches <= 0 or (given and not several) or reaches <= len(given):
        return
    own = expression.key.rpartition(".")[2]
    hint = f"write state: {{{name}: value}}, or first: {{{own}: value}} for '{own}' at the first row"
    yield expression.problem(node, f"'{name}' has no value {reaches} rows before the first one", hint)


def _listed(body: Mapping[str, Any], section: str, name: str) -> list[Any]:
    given = (body.get(section) or {}).get(name)
    if given is None:
        return []
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]


def _subscripts(tree: ast.AST) -> Iterator[ast.Subscript]:
    """Yield the indices that name a row."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and _mentions_row(node.slice):
            yield node


def _same_row(tree: ast.AST) -> Iterator[str]:
    """Yield the names that are used at the same row."""
    if isinstance(tree, ast.Subscript) and _mentions_row(tree.slice):
        if lag_in(tree.slice) == 0 and isinstance(tree.value, ast.Name):
            yield tree.value.id
        return
    if isinstance(tree, ast.Name):
        yield tree.id
    for child in ast.iter_child_nodes(tree):
        yield from _same_row(child)


def _circle(key: str, steps: Mapping[str, Expression]) -> Iterator[Problem]:
    try:
        _ordered(steps)
    except CycleError as error:
        names = list(reversed(error.args[1]))
        if len(names) == 2:
            message = f"'{names[0]}' is defined by its own value at the same row"
        else:
            message = f"these are defined by each other at the same row: {' <- '.join(names)}"
        yield Problem(f"{key}.step.{names[0]}", message, f"write {names[0]}[t-1] for its value at the row before")


def _ordered(steps: Mapping[str, Expression]) -> list[str]:
    needs = {name: [other for other in _same_row(one.tree) if other in steps] for name, one in steps.items()}
    return list(TopologicalSorter(needs).static_order())


# ---------------------------------------------------------------- with data


@dataclass
class _Input:
    """A value from outside, and where it is written."""

    value: Value
    expression: Expression | None
    node: ast.expr | None
    key: str

    def fault(self, message: str, hint: str = "") -> UserError:
        """Return an error that points at it."""
        if self.expression is not None and self.node is not None:
            return UserError([self.expression.problem(self.node, message, hint)])
        return UserError([Problem(self.key, message, hint)])


def read_recurrence(body: Mapping[str, Any], scope: Scope, key: str, fed: frozenset[str]) -> dict[str, Value]:
    """Compute the variables of a recurrence.

    Parameters
    ----------
    body
        The recurrence in YAML, checked by `recurrence_problems`.
    scope
        Values of the names in its expressions.
    key
        Its config key.
    fed
        Data variables that the model explains: a forward simulation replaces them by what it draws.

    Returns
    -------
    dict
        Each variable of its step, over the dims of the series and, last, the dim along which it runs.

    Raises
    ------
    UserError
        When a name is unknown, dims do not fit, or a step needs more than its own row and earlier ones.
    """
    reader = _Reader(body, scope, key, fed)
    return reader.values()


@dataclass
class _Block:
    """The instructions of one variable, while they are written."""

    expression: Expression
    made: list[Instruction] = field(default_factory=list)

    def add(self, instruction: Instruction) -> int:
        self.made.append(instruction)
        return len(self.made) - 1


class _Reader:
    def __init__(self, body: Mapping[str, Any], scope: Scope, key: str, fed: frozenset[str]) -> None:
        self._body, self._scope, self._key, self._fed = body, scope, key, fed
        self._over = str(body["over"])
        rows = scope.size(self._over)
        if rows is None:
            raise fail(f"{key}.over", f"unknown dim '{self._over}'", did_you_mean(self._over, scope.dims()))
        self._rows = rows
        self._steps = {name: parse(str(text), f"{key}.step.{name}") for name, text in _steps(body).items()}
        self._order = _ordered(self._steps)
        self._inputs: list[_Input] = []
        self._known_inputs: dict[str, int] = {}
        # variables of the program: data of which earlier rows are used, or which are drawn anew, come first
        outer = [n for n in self._outer_variables() if n not in self._steps]
        self._places = {name: place for place, name in enumerate([*outer, *self._order])}
        self._outer = outer

    def _outer_variables(self) -> list[str]:
        found: dict[str, None] = {}
        for one in self._steps.values():
            for node in _subscripts(one.tree):
                if isinstance(node.value, ast.Name):
                    found[node.value.id] = None
            found |= {name: None for name in sorted(names_in(one.tree)) if name in self._fed}
        return list(found)

    def values(self) -> dict[str, Value]:
        """Return the variables."""
        blocks: dict[str, list[Instruction]] = {}
        problems: list[Problem] = []
        for name in self._outer:
            node = ast.Name(name, ctx=ast.Load())
            where = next(one for one in self._steps.values() if name in names_in(one.tree))
            place = next(n for n in ast.walk(where.tree) if isinstance(n, ast.Name) and n.id == name)
            ast.copy_location(node, place)
            try:
                blocks[name] = [Instruction("input", of=(self._input(where, node),))]
            except UserError as error:
                problems += error.problems
        for name in self._order:
            block = _Block(self._steps[name])
            try:
                self._write(block, self._steps[name].tree)
                blocks[name] = block.made
            except UserError as error:
                problems += error.problems
        starts: list[dict[str, tuple[list[int], bool]]] = []
        for section in ("state", "first"):
            try:
                starts.append(self._starts(section))
            except UserError as error:
                problems += error.problems
        check(problems)
        before, first = starts
        self._check_steps()
        return self._made(blocks, before, first)

    # ------------------------------------------------------------ instructions

    def _write(self, block: _Block, node: ast.expr) -> int:
        """Write the instructions of an expression; return the number of the last."""
        if isinstance(node, ast.Constant):
            return block.add(Instruction("constant", number=float(node.value)))  # type: ignore[arg-type]
        if not self._touches(node):
            return block.add(Instruction("input", of=(self._input(block.expression, node),)))
        if isinstance(node, ast.Name):
            return block.add(Instruction("now", of=(self._places[node.id],)))
        if isinstance(node, ast.Subscript):
            return self._earlier(block, node)
        if isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.Pow) and isinstance(node.right, ast.Constant) and node.right.value == 2:
                return self._call(block, node, "square", [node.left])
            return self._call(block, node, operation_of(node.op), [node.left, node.right])
        if isinstance(node, ast.UnaryOp):
            return self._call(block, node, operation_of(node.op), [node.operand])
        if isinstance(node, ast.Compare):
            terms = [node.left, *node.comparators]
            pairs = zip(node.ops, terms[:-1], terms[1:], strict=True)
            return self._folded(block, "and", [self._call(block, node, operation_of(o), [a, b]) for o, a, b in pairs])
        if isinstance(node, ast.BoolOp):
            return self._folded(block, operation_of(node.op), [self._write(block, one) for one in node.values])
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name), node
        return self._function(block, node, node.func.id)

    def _function(self, block: _Block, node: ast.Call, name: str) -> int:
        if name not in ELEMENTWISE:
            message = f"'{name}' needs all rows, but a step knows its own row and earlier ones"
            raise UserError(
                [block.expression.problem(node, message, "carry the sum, or whatever is needed, along in the step")]
            )
        if name in ("minimum", "maximum"):
            return self._folded(block, name, [self._write(block, one) for one in node.args])
        return self._call(block, node, "where" if name == "switch" else name, node.args)

    def _call(self, block: _Block, node: ast.expr, operation: str, operands: Sequence[ast.expr]) -> int:
        if operation not in STEP_OPERATIONS:
            able = ", ".join(sorted(STEP_OPERATIONS & ELEMENTWISE))
            message = f"'{operation}' can't be used on what changes from row to row in a recurrence"
            raise UserError([block.expression.problem(node, message, f"functions that can: {able}")])
        return block.add(Instruction("call", of=tuple(self._write(block, x) for x in operands), operation=operation))

    def _folded(self, block: _Block, operation: str, parts: Sequence[int]) -> int:
        made = parts[0]
        for part in parts[1:]:
            made = block.add(Instruction("call", of=(made, part), operation=operation))
        return made

    def _earlier(self, block: _Block, node: ast.Subscript) -> int:
        back = lag_in(node.slice)
        if back is None or not isinstance(node.value, ast.Name):
            message = "values that change from row to row can't be indexed in this way"
            raise UserError([block.expression.problem(node, message, _ONLY_ROWS)])
        place = self._places[node.value.id]
        return block.add(Instruction("lag" if back else "now", of=(place,), lag=back))

    def _touches(self, node: ast.AST, also_fed: bool = True) -> bool:
        """Return whether an expression depends on the recurrence, or on data that a simulation draws."""
        if isinstance(node, ast.Name):
            return node.id in self._steps or (also_fed and node.id in self._fed)
        if isinstance(node, ast.Subscript):
            return _mentions_row(node.slice) or any(self._touches(c, False) for c in ast.iter_child_nodes(node))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            also_fed = also_fed and node.func.id in ELEMENTWISE
            return any(self._touches(argument, also_fed) for argument in node.args)
        return any(self._touches(child, also_fed) for child in ast.iter_child_nodes(node))

    # ------------------------------------------------------------ inputs

    def _input(self, expression: Expression, node: ast.expr) -> int:
        text = ast.unparse(node)
        if text not in self._known_inputs:
            value = value_of(replace(expression, tree=node, names=names_in(node)), self._scope)
            if value.date:
                raise UserError([expression.problem(node, "is a date, but a number is needed", "use days(date)")])
            self._known_inputs[text] = len(self._inputs)
            self._inputs.append(_Input(value, expression, node, expression.key))
        return self._known_inputs[text]

    def _starts(self, section: str) -> dict[str, tuple[list[int], bool]]:
        """Read the values before or at the first rows; a single value before them stands for all earlier rows."""
        found: dict[str, tuple[list[int], bool]] = {}
        for name in self._body.get(section) or {}:
            listed = _listed(self._body, section, name)
            several = len(listed) > 1 or listed != [self._body[section][name]]
            numbers = []
            for i, given in enumerate(listed):
                where = f"{self._key}.{section}.{name}" + (f"[{i}]" if several else "")
                value = read(given, self._scope, where)
                if self._over in value.dims:
                    hint = f"index one, as in {name}[0]; a step has the others"
                    raise fail(where, f"is over '{self._over}', but one value is needed", hint)
                numbers.append(len(self._inputs))
                self._inputs.append(_Input(value, None, None, where))
            found[str(name)] = numbers, several
        return found

    def _check_steps(self) -> None:
        """Check the lengths of the steps, where they are given: a recurrence counts rows."""
        if self._body.get("steps") is None:
            return
        key = f"{self._key}.steps"
        try:
            lengths = step_lengths(read(self._body["steps"], self._scope, key), self._rows)
        except Fault as fault:
            raise fail(key, fault.message, fault.hint) from None
        if not all_equal(lengths):
            message = f"a recurrence counts rows, but these steps are {lengths.min():g} to {lengths.max():g} long"
            raise fail(key, message, f"steps: arange(n_{self._over}) counts each row as one step")

    # ------------------------------------------------------------ the program

    def _made(self, blocks: Mapping[str, list[Instruction]], before: Any, first: Any) -> dict[str, Value]:
        series, sizes = self._series()
        dims, shape = (*series, self._over), (*sizes, self._rows)
        fitted, kinds = [], []
        for one in self._inputs:
            value, kind = self._fitted(one, dims, shape)
            fitted.append(value)
            kinds.append((*kind, value.known is None))
        deepest: dict[int, int] = {}
        for block in blocks.values():
            for step in block:
                if step.kind == "lag":
                    deepest[step.of[0]] = max(step.lag, deepest.get(step.of[0], 0))
        variables = []
        for name, place in self._places.items():
            numbers, several = before.get(name, ([], False))
            nearest = list(reversed(numbers)) if several else numbers * deepest.get(place, 0)
            starts = tuple(first.get(name, ([], False))[0])
            data = name in self._fed and name not in self._steps
            variables.append(StepVariable(name, tuple(blocks[name]), tuple(nearest), starts, data))
        program = Program(tuple(variables), tuple(kinds), tuple(sizes), self._rows)
        return self._results(program, fitted, dims, shape)

    def _results(self, program: Program, inputs: Sequence[Value], dims: Any, shape: Any) -> dict[str, Value]:
        is_known = all(value.known is not None for value in inputs)
        known = run(OPERATIONS, *[value.known for value in inputs], program) if is_known else None
        # the node is kept where a simulation needs it
        symbolic = not is_known or any(one.data for one in program.variables)
        whole = Call("recurrence", tuple(map(node_of, inputs)), (program,))
        found = {}
        for name in self._steps:
            place = self._places[name]
            node = Call("index", (whole,), ((place,),)) if symbolic else None
            found[name] = Value(dims, shape, None if known is None else known[place], node)
        return found

    def _series(self) -> tuple[list[str], list[int]]:
        """Find the dims along which it does not run: those of the input that has most of them."""
        sizes: list[dict[str, int]] = []
        for one in self._inputs:
            pairs = zip(one.value.dims, one.value.shape, strict=True)
            own = {dim: size for dim, size in pairs if dim != self._over}
            if None in own:
                raise one.fault("has an axis without a name", "index it, as in phi[0], or give it dims")
            sizes.append({str(dim): size for dim, size in own.items()})
        widest: dict[str, int] = max(sizes, key=len, default={})
        for one, own_sizes in zip(self._inputs, sizes, strict=True):
            if not own_sizes.keys() <= widest.keys():
                first, second = (f"({', '.join(sorted(dims))})" for dims in (widest, own_sizes))
                hint = "index one by codes over the other, as in alpha[county]"
                raise one.fault(f"dims {first} and {second} clash", hint)
        return list(widest), list(widest.values())

    def _fitted(self, one: _Input, dims: Sequence[str], shape: Sequence[int]) -> tuple[Value, tuple[bool, bool]]:
        try:
            value = conform(one.value, tuple(dims), tuple(shape))
        except Fault as fault:
            raise one.fault(fault.message, fault.hint) from None
        sizes = (1,) * (len(shape) - value.ndim) + value.shape
        by_row = sizes[-1] == self._rows and self._rows > 1
        if all(n == 1 for n in sizes[:-1]):
            return value, (False, by_row)
        if sizes[:-1] != tuple(shape[:-1]):
            value = compute("multiply", [value, constant(np.ones((*shape[:-1], 1)))], tuple(dims))
        return value, (True, by_row)
