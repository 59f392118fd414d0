"""Recurrences as operations of Theano: one loop in C forwards, and one backwards for the exact gradient.

The sweep backwards computes the instructions of each row again from the values that the loop forwards has stored, so
nothing but these values is kept. Both loops also exist in NumPy, with which what is compiled is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import theano.tensor as tt
from theano.gradient import DisconnectedType
from theano.graph.basic import Apply
from theano.graph.op import COp

from bayesrun.language.operations import OPERATIONS
from bayesrun.language.recurrences import AlongRows, Instruction, Program, RecurrenceRows, StepVariable, run

_ROOT_OF_PI = "1.1283791670955126"  # 2 / sqrt(pi)

IN_C: Mapping[str, tuple[str, tuple[str | None, ...]]] = MappingProxyType(
    {
        "abs": ("fabs({0})", ("{g} * (({0} > 0) - ({0} < 0))",)),
        "add": ("{0} + {1}", ("{g}", "{g}")),
        "and": ("(double)({0} != 0 && {1} != 0)", (None, None)),
        "atan": ("atan({0})", ("{g} / (1.0 + {0} * {0})",)),
        "clip": (
            "({0} < {1} ? {1} : {0} > {2} ? {2} : {0})",
            ("({0} < {1} || {0} > {2} ? 0.0 : {g})", "({0} < {1} ? {g} : 0.0)", "({0} > {2} ? {g} : 0.0)"),
        ),
        "cos": ("cos({0})", ("-{g} * sin({0})",)),
        "divide": ("{0} / {1}", ("{g} / {1}", "-{g} * {x} / {1}")),
        "equal": ("(double)({0} == {1})", (None, None)),
        "erf": ("erf({0})", (f"{{g}} * {_ROOT_OF_PI} * exp(-{{0}} * {{0}})",)),
        "exp": ("exp({0})", ("{g} * {x}",)),
        "expm1": ("expm1({0})", ("{g} * ({x} + 1.0)",)),
        "greater": ("(double)({0} > {1})", (None, None)),
        "greater_equal": ("(double)({0} >= {1})", (None, None)),
        "less": ("(double)({0} < {1})", (None, None)),
        "less_equal": ("(double)({0} <= {1})", (None, None)),
        "log": ("log({0})", ("{g} / {0}",)),
        "log1p": ("log1p({0})", ("{g} / (1.0 + {0})",)),
        "logit": ("log({0}) - log1p(-{0})", ("{g} / ({0} * (1.0 - {0}))",)),
        "maximum": ("({0} > {1} ? {0} : {1})", ("({0} > {1} ? {g} : 0.0)", "({0} > {1} ? 0.0 : {g})")),
        "minimum": ("({0} < {1} ? {0} : {1})", ("({0} < {1} ? {g} : 0.0)", "({0} < {1} ? 0.0 : {g})")),
        "multiply": ("{0} * {1}", ("{g} * {1}", "{g} * {0}")),
        "negative": ("-{0}", ("-{g}",)),
        "not": ("(double)({0} == 0)", (None,)),
        "not_equal": ("(double)({0} != {1})", (None, None)),
        "or": ("(double)({0} != 0 || {1} != 0)", (None, None)),
        "positive": ("{0}", ("{g}",)),
        "power": ("pow({0}, {1})", ("{g} * {1} * pow({0}, {1} - 1.0)", "({0} > 0 ? {g} * {x} * log({0}) : 0.0)")),
        "sigmoid": ("1.0 / (1.0 + exp(-{0}))", ("{g} * {x} * (1.0 - {x})",)),
        "sign": ("(double)(({0} > 0) - ({0} < 0))", (None,)),
        "sin": ("sin({0})", ("{g} * cos({0})",)),
        "sqrt": ("sqrt({0})", ("{g} * 0.5 / {x}",)),
        "square": ("{0} * {0}", ("{g} * 2.0 * {0}",)),
        "subtract": ("{0} - {1}", ("{g}", "-{g}")),
        "tan": ("tan({0})", ("{g} * (1.0 + {x} * {x})",)),
        "tanh": ("tanh({0})", ("{g} * (1.0 - {x} * {x})",)),
        "where": ("({0} != 0 ? {1} : {2})", (None, "({0} != 0 ? {g} : 0.0)", "({0} != 0 ? 0.0 : {g})")),
    }
)
"""Value of each operation in C, and the derivative of each operand, of {0}, {1}, {2}, the value {x}, adjoint {g}."""

Slopes = Callable[..., tuple[Any, ...]]
_SLOPES: Mapping[str, Slopes] = MappingProxyType(
    {
        "abs": lambda x, a: (np.sign(a),),
        "add": lambda x, a, b: (1.0, 1.0),
        "atan": lambda x, a: (1.0 / (1.0 + a * a),),
        "clip": lambda x, a, low, high: ((a >= low) & (a <= high), a < low, a > high),
        "cos": lambda x, a: (-np.sin(a),),
        "divide": lambda x, a, b: (1.0 / b, -x / b),
        "erf": lambda x, a: (2.0 / np.sqrt(np.pi) * np.exp(-a * a),),
        "exp": lambda x, a: (x,),
        "expm1": lambda x, a: (x + 1.0,),
        "log": lambda x, a: (1.0 / a,),
        "log1p": lambda x, a: (1.0 / (1.0 + a),),
        "logit": lambda x, a: (1.0 / (a * (1.0 - a)),),
        "maximum": lambda x, a, b: (a > b, a <= b),
        "minimum": lambda x, a, b: (a < b, a >= b),
        "multiply": lambda x, a, b: (b, a),
        "negative": lambda x, a: (-1.0,),
        "positive": lambda x, a: (1.0,),
        "power": lambda x, a, b: (b * np.power(np.asarray(a, float), b - 1.0), np.where(a > 0, x * np.log(a), 0.0)),
        "sigmoid": lambda x, a: (x * (1.0 - x),),
        "sin": lambda x, a: (np.cos(a),),
        "sqrt": lambda x, a: (0.5 / x,),
        "square": lambda x, a: (2.0 * a,),
        "subtract": lambda x, a, b: (1.0, -1.0),
        "tan": lambda x, a: (1.0 + x * x,),
        "tanh": lambda x, a: (1.0 - x * x,),
        "where": lambda x, c, a, b: (0.0, c != 0, c == 0),
    }
)
"""Derivatives by each operand; operations that are not here have none."""


def moving(program: Program) -> tuple[tuple[bool, ...], tuple[tuple[bool, ...], ...]]:
    """Return which variables depend on an input with a derivative, and which instructions of each."""
    is_active = [any(program.inputs[i][2] for i in (*v.before, *v.first)) for v in program.variables]
    while True:
        flags = tuple(tuple(_flags(program, v, is_active)) for v in program.variables)
        found = [old or bool(of and of[-1]) for old, of in zip(is_active, flags, strict=True)]
        if found == is_active:
            return tuple(found), flags
        is_active = found


def _flags(program: Program, variable: StepVariable, is_active: Sequence[bool]) -> list[bool]:
    flags: list[bool] = []
    for one in variable.block:
        if one.kind == "call":
            flags.append(one.operation in _SLOPES and any(flags[i] for i in one.of))
        elif one.kind == "input":
            flags.append(program.inputs[one.of[0]][2])
        else:
            flags.append(one.kind != "constant" and is_active[one.of[0]])
    return flags


def recurrence(*rest: Any) -> Any:
    """Return the values of a recurrence as a tensor that has a gradient; the last argument is the program."""
    *inputs, program = rest
    return Forwards(program)(*inputs)


class LoopInC(COp):  # type: ignore[misc]  # Theano has no type hints
    """A loop along rows, forwards or backwards."""

    __props__ = ("program",)

    def __init__(self, program: AlongRows) -> None:
        self.program = program

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Count the versions of the C code."""
        return (1,)

    def c_headers(self, **_: Any) -> list[str]:
        """Name the headers."""
        return ["<math.h>", "<string.h>", "<stdlib.h>"]


class LoopGradient(LoopInC):
    """The gradient by each input with a derivative; the last inputs are what the loop forwards made, and slopes."""

    def make_node(self, *given: Any) -> Apply:
        """Declare the types of inputs and outputs."""
        inputs = [tt.cast(tt.as_tensor_variable(one), "float64") for one in given]
        of = [one for one, (_, _, active) in zip(inputs, self.program.inputs, strict=False) if active]
        return Apply(self, inputs, [one.type() for one in of])

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes: those of the inputs."""
        return [shape for shape, (_, _, active) in zip(shapes, self.program.inputs, strict=False) if active]

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Compute it in NumPy."""
        *given, made, slopes = inputs
        with np.errstate(all="ignore"):
            found = self.in_numpy(given, made, slopes)
        for output, i in zip(outputs, self.active, strict=True):
            output[0] = found[i].reshape(np.shape(given[i]))

    def in_numpy(self, given: Sequence[Any], made: Any, slopes: Any) -> Any:
        """Return the gradient by each input; of those without a derivative it does not count."""
        raise NotImplementedError

    @property
    def active(self) -> list[int]:
        """The inputs with a derivative."""
        return [i for i, (_, _, of) in enumerate(self.program.inputs) if of]

    def _zeroed(self, inputs: Sequence[str], outputs: Sequence[str], fail: str) -> Iterator[str]:
        """Write how the outputs are made: `to0`, `to1`, ... by the input's number."""
        for output, i in zip(outputs, self.active, strict=True):
            yield f"Py_XDECREF({output});"
            yield (
                f"{output} = (PyArrayObject*) PyArray_ZEROS(PyArray_NDIM({inputs[i]}), PyArray_DIMS({inputs[i]}), "
                "NPY_DOUBLE, 0);"
            )
            yield f"if (!{output}) {{ {fail} }}"
            yield f"double* to{i} = (double*) PyArray_DATA({output});"

    def _sums(self) -> Iterator[str]:
        """Write the sums over the rows of the gradients by inputs that do not differ between these."""
        yield from (f"double s{i} = 0.0;" for i in self.active if not self.program.inputs[i][1])

    def _sums_given(self) -> Iterator[str]:
        """Write how these sums reach the outputs."""
        for i in self.active:
            by_series, by_row, _ = self.program.inputs[i]
            if not by_row:
                yield f"to{i}[{'b' if by_series else '0'}] += s{i};"


def by_each_input(program: AlongRows, found: Any) -> list[Any]:
    """Return the gradient by each input of those that a `LoopGradient` has found, of inputs with a derivative."""
    left = iter(found if isinstance(found, list) else [found])
    return [next(left) if active else DisconnectedType()() for _, _, active in program.inputs]


class Forwards(LoopInC):
    """The values of all variables (variable, *series, row), of the inputs of the program."""

    program: Program

    def make_node(self, *given: Any) -> Apply:
        """Declare the types of inputs and output."""
        inputs = [tt.cast(tt.as_tensor_variable(one), "float64") for one in given]
        return Apply(self, inputs, [tt.TensorType("float64", (False,) * len(self.program.shape))()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Compute it in NumPy."""
        outputs[0][0] = run(OPERATIONS, *inputs, self.program)

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shape, which is known."""
        return [tuple(tt.constant(n, dtype="int64") for n in self.program.shape)]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Declare which inputs have a derivative."""
        return [[active] for _, _, active in self.program.inputs]

    def L_op(self, inputs: list[Any], outputs: list[Any], output_gradients: list[Any]) -> list[Any]:
        """Return the gradient by each input."""
        if not any(active for _, _, active in self.program.inputs):
            return [DisconnectedType()() for _ in inputs]
        return by_each_input(self.program, Backwards(self.program)(*inputs, outputs[0], output_gradients[0]))

    def c_code(self, node: Apply, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Write the loop."""
        program, (out,) = self.program, outputs
        shape = program.shape
        lines = [
            f"npy_intp dims[{len(shape)}] = {{{', '.join(map(str, shape))}}};",
            f"Py_XDECREF({out});",
            f"{out} = (PyArrayObject*) PyArray_SimpleNew({len(shape)}, dims, NPY_DOUBLE);",
            f"if (!{out}) {{ {sub['fail']} }}",
            *opened(inputs),
            f"double* values = (double*) PyArray_DATA({out});",
            f"for (npy_intp b = 0; b < {program.width}; ++b) {{",
            *_pointers(program, "values"),
            f"for (npy_intp t = 0; t < {program.rows}; ++t) {{",
        ]
        for v, variable in enumerate(program.variables):
            lines += [f"{{ double value_{v};"]
            if variable.first:
                lines += [
                    f"if (t < {len(variable.first)}) value_{v} = {_chosen(program, variable.first, 't')}; else {{"
                ]
            lines += [*_computed(program, v, variable), f"value_{v} = v{v}_{len(variable.block) - 1};"]
            lines += ["}"] if variable.first else []
            lines += [f"x{v}[t] = value_{v}; }}"]
        lines += ["}", "}", *closed(inputs)]
        return "{\n" + "\n".join(lines) + "\n}"


class Backwards(LoopGradient):
    """The gradient by each input with a derivative; the last inputs are the values, and the gradient by these."""

    program: Program

    def in_numpy(self, given: Sequence[Any], made: Any, slopes: Any) -> Any:
        """Return the gradient by each input."""
        return gradients(self.program, given, made, slopes)

    def c_code(self, node: Apply, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Write the loop."""
        program = self.program
        given = inputs[:-2]
        width, rows, count = program.width, program.rows, len(program.variables)
        lines = [
            *self._zeroed(given, outputs, sub["fail"]),
            *opened(inputs),
            f"double* values = (double*) PyArray_DATA(given{len(given)});",
            f"double* slopes = (double*) PyArray_DATA(given{len(given) + 1});",
            f"double* adjoints = (double*) malloc(sizeof(double) * {count * rows});",
            f"for (npy_intp b = 0; b < {width}; ++b) {{",
            *_pointers(program, "values"),
        ]
        for v in range(count):
            lines += [
                f"double* a{v} = adjoints + {v * rows};",
                f"memcpy(a{v}, slopes + ({v} * {width} + b) * {rows}, sizeof(double) * {rows});",
            ]
        lines += [*self._sums(), f"for (npy_intp t = {rows} - 1; t >= 0; --t) {{", *self._sweep(), "}"]
        lines += self._sums_given()
        lines += ["}", "free(adjoints);", *closed(inputs)]
        return "{\n" + "\n".join(lines) + "\n}"

    def _sweep(self) -> Iterator[str]:
        """Write the adjoints of one row, the last variable first."""
        program = self.program
        variables, instructions = moving(program)
        for v in reversed(range(len(program.variables))):
            if not variables[v]:
                continue
            variable, flags = program.variables[v], instructions[v]
            yield f"{{ const double g = a{v}[t]; if (g != 0.0) {{"
            if variable.first:
                yield f"if (t < {len(variable.first)}) {{"
                yield _given_to(program, variable.first, "t", "g")
                yield "} else {"
            yield from _computed(program, v, variable)
            yield from (f"double d{i} = 0.0;" for i, of in enumerate(flags) if of)
            if flags[-1]:
                yield f"d{len(flags) - 1} = g;"
                yield from _adjoints(program, v, variable, flags)
            yield "}" if variable.first else ""
            yield "} }"


def opened(inputs: Sequence[str]) -> list[str]:
    """Write how the numbers of each input are reached: `in0`, `in1`, ..."""
    lines = [f"PyArrayObject* given{i} = PyArray_GETCONTIGUOUS({one});" for i, one in enumerate(inputs)]
    return [*lines, *(f"const double* in{i} = (const double*) PyArray_DATA(given{i});" for i in range(len(inputs)))]


def closed(inputs: Sequence[str]) -> list[str]:
    """Write how the inputs are released."""
    return [f"Py_DECREF(given{i});" for i in range(len(inputs))]


def _pointers(program: Program, values: str) -> list[str]:
    width, rows = program.width, program.rows
    return [f"double* x{v} = {values} + ({v} * {width} + b) * {rows};" for v in range(len(program.variables))]


def place_of(program: AlongRows, number: int) -> str:
    """Write the place of an input at series `b` and row `t`."""
    by_series, by_row, _ = program.inputs[number]
    series = f"b * {program.rows}" if by_row else "b"
    return " + ".join([*([series] if by_series else []), *(["t"] if by_row else [])]) or "0"


def read_input(program: AlongRows, number: int) -> str:
    """Write the value of an input at series `b` and row `t`."""
    return f"in{number}[{place_of(program, number)}]"


def _chosen(program: Program, inputs: Sequence[int], index: str) -> str:
    """Choose among inputs by a number that counts them."""
    made = read_input(program, inputs[-1])
    for place, number in reversed(list(enumerate(inputs[:-1]))):
        made = f"({index} == {place} ? {read_input(program, number)} : {made})"
    return made


def _given_to(program: Program, inputs: Sequence[int], index: str, amount: str) -> str:
    """Add to the gradient of the input that a number counts."""
    made = ""
    for place, number in enumerate(inputs):
        if program.inputs[number][2]:
            made += f"if ({index} == {place}) {added_to(program, number, amount)} "
    return made


def added_to(program: AlongRows, number: int, amount: str) -> str:
    """Write the addition to the gradient by an input: `to0`, or the sum `s0` of one that is the same at all rows."""
    target = f"to{number}[{place_of(program, number)}]" if program.inputs[number][1] else f"s{number}"
    return f"{target} += {amount};"


def _computed(program: Program, v: int, variable: StepVariable) -> Iterator[str]:
    """Write the instructions of a block."""
    for i, one in enumerate(variable.block):
        yield f"const double v{v}_{i} = {_value(program, v, one)};"


def _value(program: Program, v: int, one: Instruction) -> str:
    if one.kind == "call":
        return IN_C[one.operation][0].format(*(f"v{v}_{i}" for i in one.of))
    if one.kind == "constant":
        return f"({one.number!r})" if np.isfinite(one.number) else "INFINITY"
    if one.kind == "input":
        return read_input(program, one.of[0])
    if one.kind == "now":
        return f"x{one.of[0]}[t]"
    before = program.variables[one.of[0]].before
    start = _chosen(program, before[: one.lag], f"({one.lag} - 1 - t)") if before else "0.0"
    return f"(t >= {one.lag} ? x{one.of[0]}[t - {one.lag}] : {start})"


def _adjoints(program: Program, v: int, variable: StepVariable, flags: Sequence[bool]) -> Iterator[str]:
    """Write the sweep through a block, the last instruction first."""
    for i in reversed(range(len(flags))):
        one = variable.block[i]
        if not flags[i]:
            continue
        if one.kind == "call":
            named = [f"v{v}_{of}" for of in one.of]
            terms = zip(one.of, IN_C[one.operation][1], strict=True)
            added = [
                f"d{of} += {slope.format(*named, x=f'v{v}_{i}', g=f'd{i}')};"
                for of, slope in terms
                if slope and flags[of]
            ]
            # an adjoint of zero stays zero where the slope is infinite
            yield f"if (d{i} != 0.0) {{ {' '.join(added)} }}" if added else ""
        elif one.kind == "input":
            yield added_to(program, one.of[0], f"d{i}")
        elif one.kind == "now":
            yield f"a{one.of[0]}[t] += d{i};"
        else:
            before = program.variables[one.of[0]].before[: one.lag]
            start = _given_to(program, before, f"({one.lag} - 1 - t)", f"d{i}")
            yield f"if (t >= {one.lag}) a{one.of[0]}[t - {one.lag}] += d{i}; else {{ {start} }}"


# ---------------------------------------------------------------- in NumPy


def gradients(program: Program, inputs: Sequence[Any], values: Any, gradient: Any) -> list[Any]:
    """Return the gradient by each input, over (series, row) with axes of 1 where nothing differs.

    Parameters
    ----------
    program
        The recurrence.
    inputs
        Its inputs.
    values
        Its values (variable, *series, row).
    gradient
        Of any function by the values, over the same axes.
    """
    rows = RecurrenceRows(program, program.flat(inputs), OPERATIONS)
    count = len(program.variables)
    rows.values = np.asarray(values).reshape(count, 1, program.width, program.rows)
    adjoints = np.array(gradient, dtype=float).reshape(count, program.width, program.rows)
    found = [np.zeros(array.shape[1:]) for array in rows.inputs]
    is_active, flags = moving(program)

    def add(number: int, row: int, amount: Any) -> None:
        by_series, by_row, _ = program.inputs[number]
        target, at = found[number], row if by_row else 0
        target[:, at] += np.ravel(amount) if by_series else np.sum(amount)

    for row in reversed(range(program.rows)):
        for v in reversed([v for v in range(count) if is_active[v]]):
            variable, slope = program.variables[v], adjoints[v, :, row]
            if row < len(variable.first):
                add(variable.first[row], row, slope)
            elif flags[v][-1]:
                _through(rows, v, row, slope, flags[v], adjoints, add)
    return found


def _through(
    rows: RecurrenceRows,
    v: int,
    row: int,
    slope: Any,
    flags: Sequence[bool],
    adjoints: Any,
    add: Callable[[int, int, Any], None],
) -> None:
    variables = rows.program.variables
    block = variables[v].block
    known = rows.instructions(v, row)
    of: list[Any] = [np.zeros(rows.program.width) for _ in block]
    of[-1] = np.array(slope)
    for i in reversed(range(len(block))):
        one = block[i]
        if not flags[i]:
            continue
        if one.kind == "call":
            slopes = _SLOPES[one.operation](known[i], *(known[k] for k in one.of))
            for k, each in zip(one.of, slopes, strict=True):
                of[k] = of[k] + np.where(of[i] == 0, 0.0, of[i] * each)
        elif one.kind == "input":
            add(one.of[0], row, of[i])
        elif one.kind == "now":
            adjoints[one.of[0], :, row] += np.ravel(of[i])
        elif row >= one.lag:
            adjoints[one.of[0], :, row - one.lag] += np.ravel(of[i])
        else:
            add(variables[one.of[0]].before[one.lag - row - 1], row, of[i])
