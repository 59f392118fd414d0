"""Solutions of differential equations as an operation of Theano: the solver in C, with sensitivities for its gradient.

The right-hand sides and their derivatives are written in C from their nodes; the steps are those of
`bayesrun.language.differential_equations.Solution`, with which what is compiled is compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import theano
import theano.tensor as tt
from theano.graph.basic import Apply
from theano.graph.op import COp, get_test_value

from bayesrun.engines.pymc3.recurrence_code import IN_C
from bayesrun.engines.pymc3.theano_setup import compiler_of_functions, compiling
from bayesrun.language.differential_equations import (
    FASTEST,
    SAFETY,
    SLOWEST,
    A,
    C,
    E,
    OdeSystem,
    P,
    Solution,
    parameter_name,
)
from bayesrun.language.operations import Call, Constant, Node, Variable, in_order

_FEW, _SHORT = 5, 500
"""Calls and steps up to which NumPy solves a system where Theano runs in Python."""
_IN_C: Mapping[str, str] = MappingProxyType(
    {
        **{operation: value for operation, (value, _) in IN_C.items()},
        "floor_divide": "floor({0} / {1})",
        "mod": "{0} - {1} * floor({0} / {1})",
    }
)


def solution(*rest: Any) -> Any:
    """Return the solution of a system (time, state) as a tensor with a gradient; the last argument is the system.

    Raises
    ------
    UserError
        When there is no solution at the initial values of the inputs.
    """
    *inputs, system = rest
    found = Solve(system)(*inputs)
    made = found[0]
    start = getattr(made.tag, "test_value", None)
    if start is not None and not np.isfinite(start).all():
        values = [get_test_value(tt.as_tensor_variable(one)) for one in inputs]
        if all(np.isfinite(value).all() for value in values):
            raise system.failure(Solution(system).reason(values))
    return made


class Solve(COp):  # type: ignore[misc]  # Theano has no type hints
    """The solution (time, state), and its derivatives (time, state, active input), of initial values and inputs."""

    __props__ = ("content",)

    def __init__(self, system: OdeSystem) -> None:
        self.system = system
        # all that is compiled: by it Theano finds what it has compiled before
        slopes = [one for rows in system.slopes() for row in rows for one in row]
        settings = (
            system.active,
            system.begin,
            system.times,
            system.places,
            system.rtol,
            system.atol,
            system.max_steps,
        )
        self.content = "\n".join((*_written(system, system.rates, "f"), *_written(system, slopes, "j"), repr(settings)))
        self._calls = 0
        self._function: Any = None

    def make_node(self, *given: Any) -> Apply:
        """Declare the types of inputs and outputs."""
        inputs = [tt.cast(tt.as_tensor_variable(one), "float64") for one in given]
        return Apply(self, inputs, [tt.dmatrix(), tt.dtensor3()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]], params: Any = None) -> None:
        """Compute it in NumPy, or in C from some calls on, where prior draws are made; also what takes many steps."""
        self._calls += 1
        in_c = bool(compiler_of_functions())
        found = None
        if not in_c or self._calls <= _FEW:
            found = Solution(self.system).with_slopes(inputs, _SHORT if in_c else None)
        if in_c and (found is None or not np.isfinite(found[0]).all()):
            found = self._in_c(inputs)
        assert found is not None
        outputs[0][0], outputs[1][0] = found

    def _in_c(self, inputs: list[Any]) -> Any:
        """Compute it in C, in a function that is compiled once: NumPy is slow where Theano calls it at every draw."""
        if self._function is None:
            given = [tt.dscalar() for _ in inputs]
            flags = {"cxx": compiler_of_functions(), "compute_test_value": "off"}
            with theano.config.change_flags(**flags), compiling():
                self._function = theano.function(given, Solve(self.system)(*given))
        return self._function(*inputs)

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the shapes, which are known."""
        sizes = [tt.constant(n, dtype="int64") for n in (*self.system.shape, sum(self.system.active))]
        return [tuple(sizes[:2]), tuple(sizes)]

    def L_op(self, inputs: list[Any], outputs: list[Any], gradients: list[Any]) -> list[Any]:
        """Return the gradient by each input."""
        total = tt.tensordot(gradients[0], outputs[1], axes=[[0, 1], [0, 1]])
        places = iter(range(sum(self.system.active)))
        return [
            total[next(places)] if active else tt.zeros_like(x)
            for x, active in zip(inputs, self.system.active, strict=True)
        ]

    def connection_pattern(self, node: Apply) -> list[list[bool]]:
        """Declare that the derivatives have no derivatives themselves."""
        return [[True, False] for _ in node.inputs]

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Count the versions of the C code."""
        return (1,)

    def c_headers(self, **_: Any) -> list[str]:
        """Name the headers."""
        return ["<math.h>", "<string.h>", "<stdlib.h>", "<float.h>"]

    def c_support_code_apply(self, node: Apply, name: str) -> str:
        """Define the right-hand sides, their derivatives, and the solver."""
        system = self.system
        by_state, by_input = system.slopes()
        n, m, columns = len(system.states), sum(system.active), len(by_input[0])
        slopes = [one for row in by_state for one in row] + [one for row in by_input for one in row]
        values = {
            "name": name,
            "n": n,
            "m": m,
            "f": columns,
            "first": m - columns,
            "times": len(system.times),
            "time_list": ", ".join(map(repr, system.times)),
            "begin": repr(system.begin),
            "rtol": repr(system.rtol),
            "atol": repr(system.atol),
            "max_steps": system.max_steps,
            "a": ", ".join(repr(float(x)) for row in A for x in (*row, *(0.0,) * (6 - len(row)))),
            "c": ", ".join(repr(float(x)) for x in C),
            "e": ", ".join(map(repr, E)),
            "p": ", ".join(repr(x) for row in P for x in row),
            "safety": SAFETY,
            "slowest": SLOWEST,
            "fastest": FASTEST,
            "rates": "\n".join(_written(system, system.rates, "f")),
            "slopes": "\n".join(_written(system, slopes, "j")),
        }
        code = _SOLVER
        for key, value in values.items():
            code = code.replace(f"@{key}@", str(value))
        return code

    def c_code(self, node: Apply, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Call the solver."""
        system, (values, slopes) = self.system, outputs
        n, m, count = len(system.states), sum(system.active), len(system.places)
        active = [i for i in range(n) if system.active[i]]
        lines = [
            f"npy_intp dims[3] = {{{count}, {n}, {m}}};",
            f"Py_XDECREF({values}); Py_XDECREF({slopes});",
            f"{values} = (PyArrayObject*) PyArray_SimpleNew(2, dims, NPY_DOUBLE);",
            f"{slopes} = (PyArrayObject*) PyArray_SimpleNew(3, dims, NPY_DOUBLE);",
            f"if (!{values} || !{slopes}) {{ {sub['fail']} }}",
            f"double y[{n}], s[{max(n * m, 1)}] = {{0.0}}, p[{max(system.inputs, 1)}];",
            *(f"y[{i}] = ((double*) PyArray_DATA({one}))[0];" for i, one in enumerate(inputs[:n])),
            *(f"p[{i}] = ((double*) PyArray_DATA({one}))[0];" for i, one in enumerate(inputs[n:])),
            *(f"s[{i * m + column}] = 1.0;" for column, i in enumerate(active)),
            f"double* found = (double*) malloc(sizeof(double) * {len(system.times) * n * (1 + m)});",
            f"double* of = found + {len(system.times) * n};",
            f"ode_solve_{name}(y, s, p, found, of);",
            f"static const int places[{count}] = {{{', '.join(map(str, system.places))}}};",
            f"for (int i = 0; i < {count}; ++i) {{",
            f"memcpy((double*) PyArray_DATA({values}) + i * {n}, found + places[i] * {n}, sizeof(double) * {n});",
            f"memcpy((double*) PyArray_DATA({slopes}) + i * {n * m}, of + places[i] * {n * m}, "
            f"sizeof(double) * {n * m});",
            "}",
            "free(found);",
        ]
        return "{\n" + "\n".join(lines) + "\n}"


def _written(system: OdeSystem, nodes: Sequence[Node | None], to: str) -> Iterator[str]:
    """Write the values of nodes as C, of `t`, `y` and `p` to an array."""
    places = {name: f"y[{i}]" for i, name in enumerate(system.states)} | {system.time: "t"}
    places |= {parameter_name(i): f"p[{i}]" for i in range(system.inputs)}
    order = list({id(part): part for node in nodes if node is not None for part in in_order(node)}.values())
    texts: dict[int, str] = {}
    for number, part in enumerate(order):
        if isinstance(part, Constant):
            texts[id(part)] = f"({float(part.numbers)!r})"
        elif isinstance(part, Variable):
            texts[id(part)] = places[part.name]
        elif isinstance(part, Call):
            yield f"const double v{number} = {_IN_C[part.operation].format(*(texts[id(one)] for one in part.inputs))};"
            texts[id(part)] = f"v{number}"
    for i, node in enumerate(nodes):
        yield f"{to}[{i}] = {'0.0' if node is None else texts[id(node)]};"


_SOLVER = r"""
static void ode_rates_@name@(double t, const double* y, const double* p, double* f) {
@rates@
}
/* derivatives by the states (n x n), then by the inputs (n x f) */
static void ode_slopes_@name@(double t, const double* y, const double* p, double* j) {
@slopes@
}
static double ode_norm_@name@(const double* x, const double* scale) {
    double sum = 0.0;
    for (int i = 0; i < @n@; ++i) sum += (x[i] / scale[i]) * (x[i] / scale[i]);
    return sqrt(sum / @n@);
}
/* fills found (times x n) and of (times x n x m); what is beyond the reach of the solver is NaN */
static void ode_solve_@name@(double* y, double* s, const double* p, double* found, double* of) {
    static const double times[@times@] = {@time_list@};
    static const double a[7][6] = {@a@};
    static const double c[7] = {@c@};
    static const double e[7] = {@e@};
    static const double w[7][4] = {@p@};
    const int n = @n@, m = @m@, nm = @n@ * @m@;
    for (int i = 0; i < @times@ * n; ++i) found[i] = NAN;
    for (int i = 0; i < @times@ * nm; ++i) of[i] = NAN;
    double t = @begin@;
    const double end = times[@times@ - 1];
    int done = 0;
    while (done < @times@ && times[done] <= t) {
        memcpy(found + done * n, y, sizeof(double) * n);
        if (nm) memcpy(of + done * nm, s, sizeof(double) * nm);
        ++done;
    }
    if (done == @times@) return;
    double k[7][@n@], inner[7][@n@], scale[@n@], error[@n@], change[@n@], j[@n@ * (@n@ + @f@)];
    double* r = (double*) malloc(sizeof(double) * 8 * (nm + 1));  /* stages of the sensitivities, and where they are */
    double* at = r + 7 * nm;
    ode_rates_@name@(t, y, p, k[0]);
    for (int i = 0; i < n; ++i) if (!isfinite(k[0][i]) || !isfinite(y[i])) { free(r); return; }
    /* the first step: Hairer, Norsett and Wanner (1993), II.4 */
    for (int i = 0; i < n; ++i) scale[i] = @atol@ + fabs(y[i]) * @rtol@;
    const double size = ode_norm_@name@(y, scale), speed = ode_norm_@name@(k[0], scale);
    double h = (size < 1e-5 || speed < 1e-5) ? 1e-6 : 0.01 * size / speed;
    if (h > end - t) h = end - t;
    for (int i = 0; i < n; ++i) inner[1][i] = y[i] + h * k[0][i];
    ode_rates_@name@(t + h, inner[1], p, k[1]);
    for (int i = 0; i < n; ++i) change[i] = k[1][i] - k[0][i];
    const double bend = ode_norm_@name@(change, scale) / h, largest = speed > bend ? speed : bend;
    double other = !(largest > 1e-15) ? (h * 1e-3 > 1e-6 ? h * 1e-3 : 1e-6) : pow(0.01 / largest, 0.2);
    h = 100 * h < other ? 100 * h : other;
    if (h > end - t) h = end - t;
    for (int step = 0; step < @max_steps@; ++step) {
        if (h > end - t) h = end - t;
        memcpy(inner[0], y, sizeof(double) * n);
        for (int q = 1; q < 7; ++q) {
            for (int i = 0; i < n; ++i) {
                double sum = 0.0;
                for (int l = 0; l < q; ++l) sum += a[q][l] * k[l][i];
                inner[q][i] = y[i] + h * sum;
            }
            ode_rates_@name@(t + c[q] * h, inner[q], p, k[q]);
        }
        for (int i = 0; i < n; ++i) {
            double sum = 0.0;
            for (int q = 0; q < 7; ++q) sum += e[q] * k[q][i];
            const double larger = fabs(y[i]) > fabs(inner[6][i]) ? fabs(y[i]) : fabs(inner[6][i]);
            scale[i] = @atol@ + larger * @rtol@;
            error[i] = h * sum;
        }
        const double norm = ode_norm_@name@(error, scale);
        if (!(norm < 1.0)) {
            const double factor = isfinite(norm) ? @safety@ * pow(norm, -0.2) : @slowest@;
            h *= factor > @slowest@ ? factor : @slowest@;
            if (t + h == t) break;
            continue;
        }
        if (nm) for (int q = 0; q < 7; ++q) {
            ode_slopes_@name@(t + c[q] * h, inner[q], p, j);
            for (int i = 0; i < nm; ++i) {
                double sum = 0.0;
                for (int l = 0; l < q; ++l) sum += a[q][l] * r[l * nm + i];
                at[i] = s[i] + h * sum;
            }
            double* to = r + q * nm;
            for (int i = 0; i < n; ++i) for (int b = 0; b < m; ++b) {
                double sum = b >= @first@ ? j[n * n + i * @f@ + b - @first@] : 0.0;
                for (int l = 0; l < n; ++l) sum += j[i * n + l] * at[l * m + b];
                to[i * m + b] = sum;
            }
        }
        const double after = end - (t + h) < 1e-14 * fabs(end) ? end : t + h;
        while (done < @times@ && times[done] <= after) {
            const double x = (times[done] - t) / h;
            double b[7];
            for (int q = 0; q < 7; ++q) b[q] = x * (w[q][0] + x * (w[q][1] + x * (w[q][2] + x * w[q][3])));
            for (int i = 0; i < n; ++i) {
                double sum = 0.0;
                for (int q = 0; q < 7; ++q) sum += b[q] * k[q][i];
                found[done * n + i] = y[i] + h * sum;
            }
            for (int i = 0; i < nm; ++i) {
                double sum = 0.0;
                for (int q = 0; q < 7; ++q) sum += b[q] * r[q * nm + i];
                of[done * nm + i] = s[i] + h * sum;
            }
            ++done;
        }
        for (int i = 0; i < nm; ++i) {
            double sum = 0.0;
            for (int q = 0; q < 6; ++q) sum += a[6][q] * r[q * nm + i];
            s[i] += h * sum;
        }
        memcpy(y, inner[6], sizeof(double) * n);
        memcpy(k[0], k[6], sizeof(double) * n);
        t = after;
        if (done == @times@) break;
        const double faster = norm == 0.0 ? @fastest@ : @safety@ * pow(norm, -0.2);
        h *= faster < @fastest@ ? faster : @fastest@;
    }
    free(r);
}
"""
