"""The Kalman filter as an operation of Theano: one loop in C forwards, and one backwards for the exact gradient.

The loop forwards stores the mean and the covariance of the states before each row, from which the loop backwards
computes everything else again. Both also exist in NumPy (`bayesrun.language.kalman_filter`), with which what is
compiled is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import theano.tensor as tt
from theano.gradient import DisconnectedType
from theano.graph.basic import Apply

from bayesrun.engines.pymc3.recurrence_code import (
    LoopGradient,
    LoopInC,
    added_to,
    by_each_input,
    closed,
    opened,
    read_input,
)
from bayesrun.language.kalman_filter import NOISE, RESIDUAL, SEEN, STEP, Component, StateSpace, gradients, log_terms


def kalman_filter(*rest: Any) -> Any:
    """Return the log density of each row given those before, which has a gradient; the last argument is the system."""
    *inputs, system = rest
    return Filter(system)(*inputs)[0]


class _Sweep(LoopInC):
    """What both loops share."""

    program: StateSpace

    @property
    def system(self) -> StateSpace:
        """The state space model."""
        return self.program

    def _moved(self, x: str, stride: str) -> Iterator[str]:
        """Write `x = T x` of the states at a pointer."""
        for component in self.system.components:
            i, last = component.start, component.start + component.size - 1
            if component.kind == "trend":
                yield f"{x}[{i} * {stride}] += {x}[{i + 1} * {stride}];"
            elif component.kind == "seasonal":
                yield f"{{ double sum = 0.0; for (int k = {i}; k <= {last}; ++k) sum -= {x}[k * {stride}];"
            elif component.kind == "ar":
                terms = (
                    f"{read_input(self.system, number)} * {x}[{i + k} * {stride}]"
                    for k, number in enumerate(self.system.coefficients_of(component))
                )
                yield f"{{ const double sum = {' + '.join(terms)};"
            if component.kind in ("seasonal", "ar"):
                yield f"for (int k = {last}; k > {i}; --k) {x}[k * {stride}] = {x}[(k - 1) * {stride}];"
                yield f"{x}[{i} * {stride}] = sum; }}"

    def _moved_back(self, x: str, stride: str) -> Iterator[str]:
        """Write `x = T' x` of the states at a pointer."""
        for component in self.system.components:
            i, last = component.start, component.start + component.size - 1
            if component.kind == "trend":
                yield f"{x}[{i + 1} * {stride}] += {x}[{i} * {stride}];"
            elif component.kind == "seasonal":
                yield f"{{ const double first = {x}[{i} * {stride}];"
                yield (
                    f"for (int k = {i}; k < {last}; ++k) {x}[k * {stride}] = {x}[(k + 1) * {stride}] - first; "
                    f"{x}[{last} * {stride}] = -first; }}"
                )
            elif component.kind == "ar":
                yield f"{{ const double first = {x}[{i} * {stride}];"
                for k, number in enumerate(self.system.coefficients_of(component)):
                    following = f"{x}[{i + k + 1} * {stride}] + " if i + k < last else ""
                    yield f"{x}[{i + k} * {stride}] = {following}{read_input(self.system, number)} * first;"
                yield "}"

    def _matrix(self, way: Any, x: str) -> Iterator[str]:
        """Write `P = M P M'` of a symmetric matrix at a pointer, where `way` writes `x = M x`."""
        size = self.system.size
        if not list(way("x", "1")):
            return
        yield f"for (int j = 0; j < {size}; ++j) {{ double* x = {x} + j;"
        yield from way("x", str(size))
        yield f"}} for (int j = 0; j < {size}; ++j) {{ double* x = {x} + j * {size};"
        yield from way("x", "1")
        yield "}"

    def _forecast(self) -> Iterator[str]:
        """Write what is known of the observation at row `t`, from `A` and `P`: its gain `G`, `f`, and `v`."""
        system, size = self.system, self.system.size
        sums = " + ".join(f"P[i * {size} + {state}]" for state in system.shown)
        yield f"for (int i = 0; i < {size}; ++i) G[i] = {sums};"
        yield f"const double noise = {read_input(system, NOISE)};"
        yield f"const double f = {' + '.join(f'G[{state}]' for state in system.shown)} + noise;"
        shown = " - ".join(f"A[{state}]" for state in system.shown)
        yield f"const double v = {read_input(system, RESIDUAL)} - {shown};"
        yield f"const int seen = {read_input(system, SEEN)} != 0.0;"

    @property
    def _stored(self) -> int:
        """Numbers that are stored at a row."""
        return self.system.size * (self.system.size + 1)


class Filter(_Sweep):
    """The terms (*series, row), and what the sweep backwards needs (series, row, stored), of the inputs of a system."""

    def make_node(self, *given: Any) -> Apply:
        """Declare the types of inputs and outputs."""
        inputs = [tt.cast(tt.as_tensor_variable(one), "float64") for one in given]
        kinds = [tt.TensorType("float64", (False,) * n) for n in (len(self.system.shape), 3)]
        return Apply(self, inputs, [kind() for kind in kinds])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Compute the terms in NumPy; the sweep backwards in NumPy needs nothing stored."""
        outputs[0][0] = log_terms(*inputs, self.system)
        outputs[1][0] = np.zeros((self.system.width, self.system.rows, 0))

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Declare which inputs have a derivative."""
        return [[active, False] for _, _, active in self.system.inputs]

    def L_op(self, inputs: list[Any], outputs: list[Any], output_gradients: list[Any]) -> list[Any]:
        """Return the gradient by each input."""
        active = [of for _, _, of in self.system.inputs]
        if not any(active) or isinstance(output_gradients[0].type, DisconnectedType):
            return [DisconnectedType()() for _ in inputs]
        return by_each_input(self.system, FilterGradient(self.system)(*inputs, outputs[1], output_gradients[0]))

    def c_code(self, node: Apply, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Write the loop."""
        system, (out, store) = self.system, outputs
        size, rows, width = system.size, system.rows, system.width
        kept = f"npy_intp kept[3] = {{{width}, {rows}, {self._stored}}};"
        lines = [
            f"npy_intp dims[{len(system.shape)}] = {{{', '.join(map(str, system.shape))}}}; {kept}",
            f"Py_XDECREF({out}); Py_XDECREF({store});",
            f"{out} = (PyArrayObject*) PyArray_SimpleNew({len(system.shape)}, dims, NPY_DOUBLE);",
            f"{store} = (PyArrayObject*) PyArray_SimpleNew(3, kept, NPY_DOUBLE);",
            f"if (!{out} || !{store}) {{ {sub['fail']} }}",
            *opened(inputs),
            f"double* terms = (double*) PyArray_DATA({out}); double* to = (double*) PyArray_DATA({store});",
            f"double A[{size}], P[{size * size}], G[{size}], K[{size}];",
            f"for (npy_intp b = 0; b < {width}; ++b) {{",
            f"for (npy_intp t = 0; t < {rows}; ++t, ++terms, to += {self._stored}) {{",
            "if (t == 0) {",
            "memset(P, 0, sizeof(P));",
            *(f"A[{i}] = {read_input(system, system.mean_of(i))};" for i in range(size)),
            *self._first_covariance(),
            "} else {",
            *self._moved("A", "1"),
            *self._matrix(self._moved, "P"),
        ]
        for i in system.disturbed:
            wide = f"{read_input(system, STEP)} * {read_input(system, system.disturbance_of(i))}"
            lines.append(f"P[{i * (size + 1)}] += {wide};")
        left = " + ".join(f"P[i * {size} + {state}]" for state in system.shown)
        lines += [
            "}",
            f"memcpy(to, A, sizeof(A)); memcpy(to + {size}, P, sizeof(P));",
            *self._forecast(),
            "if (!seen) { *terms = 0.0; continue; }",
            "if (!(f > 0.0)) { *terms = -INFINITY; continue; }",
            f"*terms = -0.5 * ({np.log(2.0 * np.pi)!r} + log(f) + v * v / f);",
            f"for (int i = 0; i < {size}; ++i) {{ K[i] = G[i] / f; A[i] += K[i] * v; }}",
            # Joseph's form stays accurate where the states were hardly known before
            f"for (int i = 0; i < {size}; ++i) {{",
            f"for (int j = 0; j < {size}; ++j) P[i * {size} + j] -= K[i] * G[j];",
            f"const double left = {left} - noise * K[i];",
            f"for (int j = 0; j < {size}; ++j) P[i * {size} + j] -= left * K[j]; }}",
            f"for (int i = 1; i < {size}; ++i) for (int j = 0; j < i; ++j)",
            f"P[i * {size} + j] = P[j * {size} + i] = 0.5 * (P[i * {size} + j] + P[j * {size} + i]);",
            "} }",
            *closed(inputs),
        ]
        return "{\n" + "\n".join(lines) + "\n}"

    def _first_covariance(self) -> Iterator[str]:
        system, size = self.system, self.system.size
        for component in system.components:
            for i in range(component.start, component.start + component.size):
                yield f"P[{i * (size + 1)}] = {read_input(system, system.variance_of(i))};"
            if component.correlation:
                first, stop = component.start, component.start + component.size
                shared = f"{component.correlation!r} * P[{first * (size + 1)}]"
                yield f"for (int i = {first}; i < {stop}; ++i) for (int j = {first}; j < {stop}; ++j)"
                yield f"if (i != j) P[i * {size} + j] = {shared};"


class FilterGradient(_Sweep, LoopGradient):
    """The gradient by each input with a derivative; the last inputs are what the filter stored, and the slopes."""

    def in_numpy(self, given: Sequence[Any], made: Any, slopes: Any) -> Any:
        """Return the gradient by each input; nothing stored is needed."""
        return gradients(self.system, given, slopes)

    def c_code(self, node: Apply, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Write the loop."""
        system, given = self.system, inputs[:-2]
        size, rows, width = system.size, system.rows, system.width
        lines = [
            *self._zeroed(given, outputs, sub["fail"]),
            *opened(inputs),
            f"const double* stored = (const double*) PyArray_DATA(given{len(given)});",
            f"const double* slopes = (const double*) PyArray_DATA(given{len(given) + 1});",
            f"double G[{size}], B[{size}], U[{size}], W[{size * size}], R[{size * size}];",
            f"for (npy_intp b = 0; b < {width}; ++b) {{",
            "memset(U, 0, sizeof(U)); memset(W, 0, sizeof(W));",
            *self._sums(),
            f"for (npy_intp t = {rows} - 1; t >= 0; --t) {{",
            f"const double* A = stored + (b * {rows} + t) * {self._stored}; const double* P = A + {size};",
            "{",
            *self._forecast(),
            f"const double g = slopes[b * {rows} + t];",
            "if (seen && f > 0.0) {",
            *self._through_row(),
            "} }",
            "if (t == 0) break;",
            *self._through_move(),
            "}",
        ]
        lines.append("{ const npy_intp t = 0; (void) t;")
        for state in range(size):
            if system.mean_of(state) in self.active:
                lines.append(added_to(system, system.mean_of(state), f"U[{state}]"))
        for component in system.components:
            lines += self._to_first_variances(component)
        lines.append("}")
        lines += [*self._sums_given(), "}", *closed(inputs)]
        return "{\n" + "\n".join(lines) + "\n}"

    def _to_first_variances(self, component: Component) -> Iterator[str]:
        system, size = self.system, self.system.size
        first, stop = component.start, component.start + component.size
        for i in range(first, stop):
            number = system.variance_of(i)
            if not system.inputs[number][2]:
                continue
            yield f"{{ double sum = W[{i * (size + 1)}];"
            if component.correlation:
                yield f"for (int j = {first}; j < {stop}; ++j)"
                yield f"if (j != {i}) sum += {component.correlation!r} * W[{i * size} + j];"
            yield added_to(system, number, "sum") + " }"

    def _through_row(self) -> Iterator[str]:
        """Write the gradient by the states before the row, `U` and `W`, of that by those after it."""
        system, size = self.system, self.system.size
        yield "double along = 0.0, bent = 0.0;"
        yield f"for (int i = 0; i < {size}; ++i) {{ double sum = 0.0;"
        yield f"for (int j = 0; j < {size}; ++j) sum += W[i * {size} + j] * G[j];"
        yield "B[i] = sum; along += G[i] * U[i]; bent += G[i] * sum; }"
        yield "const double to_v = (along - g * v) / f;"
        yield "const double to_f = (bent - v * along + 0.5 * g * v * v) / (f * f) - 0.5 * g / f;"
        yield f"for (int i = 0; i < {size}; ++i) B[i] = (U[i] * v - 2.0 * B[i]) / f;"
        for state in system.shown:
            yield f"B[{state}] += to_f; U[{state}] -= to_v;"
        for number, amount in ((RESIDUAL, "to_v"), (NOISE, "to_f")):
            if system.inputs[number][2]:
                yield added_to(system, number, amount)
        yield f"for (int i = 0; i < {size}; ++i) {{ const double half = 0.5 * B[i];"
        for state in system.shown:
            yield f"W[i * {size} + {state}] += half; W[{state * size} + i] += half;"
        yield "}"

    def _through_move(self) -> Iterator[str]:
        """Write the gradient by the states after the row before `t`, of that by those predicted for row `t`."""
        system, size = self.system, self.system.size
        for state in system.disturbed:
            number = system.disturbance_of(state)
            if system.inputs[number][2]:
                yield added_to(system, number, f"{read_input(system, STEP)} * W[{state * (size + 1)}]")
        autoregressions = [c for c in system.components if c.kind == "ar"]
        if any(system.inputs[n][2] for c in autoregressions for n in system.coefficients_of(c)):
            yield f"double after[{size}];"
            yield from self._after_row_before()
            for component in autoregressions:
                row = component.start * size
                for k, number in enumerate(system.coefficients_of(component)):
                    if system.inputs[number][2]:
                        state = component.start + k
                        yield f"{{ double sum = 0.0; for (int j = 0; j < {size}; ++j)"
                        yield f"sum += W[{row} + j] * R[j * {size} + {state}];"
                        yield added_to(system, number, f"2.0 * sum + U[{component.start}] * after[{state}]") + " }"
        yield from self._moved_back("U", "1")
        yield from self._matrix(self._moved_back, "W")

    def _after_row_before(self) -> Iterator[str]:
        """Write the mean `after` of the states after the row before `t`, and `R = T P` of their covariance."""
        size = self.system.size
        yield f"{{ const double* A = stored + (b * {self.system.rows} + t - 1) * {self._stored};"
        yield f"const double* P = A + {size};"
        yield "{ const npy_intp now = t; { const npy_intp t = now - 1;"
        yield from self._forecast()
        yield "const double share = seen && f > 0.0 ? 1.0 / f : 0.0; const double pulled = share ? share * v : 0.0;"
        yield f"for (int i = 0; i < {size}; ++i) {{ after[i] = A[i] + G[i] * pulled;"
        yield f"for (int j = 0; j < {size}; ++j) R[i * {size} + j] = P[i * {size} + j] - share * G[i] * G[j]; }}"
        yield "} } }"
        yield f"for (int j = 0; j < {size}; ++j) {{ double* x = R + j;"
        yield from self._moved("x", str(size))
        yield "}"
