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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bayesrun.errors import Problem, UserError, check, did_you_mean, fail
from bayesrun.language.expressions import read, value_of
from bayesrun.language.functions import ELEMENTWISE, operation_of
from bayesrun.language.grammar import Expression, names_in, parse
from bayesrun.language.operations import OPERATIONS, Call
from bayesrun.language.recurrence_checks import ONLY_ROWS, lag_in, listed, mentions_row, ordered, steps_of, subscripts
from bayesrun.language.recurrences import STEP_OPERATIONS, Instruction, Program, StepVariable, run
from bayesrun.language.scope import Scope
from bayesrun.language.time_steps import all_equal, step_lengths
from bayesrun.language.values import Fault, Value, compute, conform, constant, node_of


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
        self._steps = {name: parse(str(text), f"{key}.step.{name}") for name, text in steps_of(body).items()}
        self._order = ordered(self._steps)
        self._inputs: list[_Input] = []
        self._known_inputs: dict[str, int] = {}
        # variables of the program: data of which earlier rows are used, or which are drawn anew, come first
        outer = [n for n in self._outer_variables() if n not in self._steps]
        self._places = {name: place for place, name in enumerate([*outer, *self._order])}
        self._outer = outer

    def _outer_variables(self) -> list[str]:
        found: dict[str, None] = {}
        for one in self._steps.values():
            for node in subscripts(one.tree):
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
            raise UserError([block.expression.problem(node, message, ONLY_ROWS)])
        place = self._places[node.value.id]
        return block.add(Instruction("lag" if back else "now", of=(place,), lag=back))

    def _touches(self, node: ast.AST, also_fed: bool = True) -> bool:
        """Return whether an expression depends on the recurrence, or on data that a simulation draws."""
        if isinstance(node, ast.Name):
            return node.id in self._steps or (also_fed and node.id in self._fed)
        if isinstance(node, ast.Subscript):
            return mentions_row(node.slice) or any(self._touches(c, False) for c in ast.iter_child_nodes(node))
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
            given = listed(self._body, section, name)
            several = len(given) > 1 or given != [self._body[section][name]]
            numbers = []
            for i, one in enumerate(given):
                where = f"{self._key}.{section}.{name}" + (f"[{i}]" if several else "")
                value = read(one, self._scope, where)
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
        program = Program(tuple(kinds), tuple(sizes), self._rows, tuple(variables))
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
