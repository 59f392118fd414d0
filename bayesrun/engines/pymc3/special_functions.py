"""Scalar operations of Theano for log probabilities, with C code and derivatives that are exact in the tails.

Compositions of Theano's own operations give NaN as a gradient where a branch that is not taken overflows. The meaning
to agree with is `bayesrun.language.special_functions`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from theano import scalar
from theano.scalar.basic import BinaryScalarOp, UnaryScalarOp, upgrade_to_float
from theano.tensor.elemwise import Elemwise
from theano.tensor.nnet.sigm import scalar_sigmoid

from bayesrun.language import special_functions

_MODULE = "bayesrun.language.special_functions"


class Log1mExp(UnaryScalarOp):  # type: ignore[misc]  # Theano has no type hints
    """`log(1 - exp(x))`, `x <= 0`."""

    nfunc_spec = (f"{_MODULE}.log1mexp", 1, 1)

    def impl(self, x: Any) -> Any:
        """Compute it in NumPy."""
        return special_functions.log1mexp(x)[()]

    def L_op(self, inputs: Any, outputs: Any, gradients: Any) -> list[Any]:
        """Return `-1 / (exp(-x) - 1)`, times the gradient."""
        return [-gradients[0] / scalar.expm1(-inputs[0])]

    def c_code(self, node: Any, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Write it in C."""
        (x,), (z,) = inputs, outputs
        return f"{z} = {x} > -0.6931471805599453 ? log(-expm1({x})) : log1p(-exp({x}));"

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Count the versions of the C code."""
        return (1,)


class LogNormalCDF(UnaryScalarOp):  # type: ignore[misc]
    """Logarithm of the standard normal distribution function."""

    nfunc_spec = ("scipy.special.log_ndtr", 1, 1)

    def impl(self, x: Any) -> Any:
        """Compute it in SciPy."""
        return special_functions.log_normal_cdf(x)[()]

    def L_op(self, inputs: Any, outputs: Any, gradients: Any) -> list[Any]:
        """Return the inverse Mills ratio, times the gradient."""
        return [gradients[0] * mills_ratio(inputs[0])]

    def c_support_code(self, **_: Any) -> str:
        """Define the function; below -20 it is the asymptotic series."""
        return _NORMAL_TAIL

    def c_code(self, node: Any, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Write it in C."""
        return f"{outputs[0]} = bayesrun_log_ndtr({inputs[0]});"

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Count the versions of the C code."""
        return (1,)


class InverseMillsRatio(UnaryScalarOp):  # type: ignore[misc]
    """Normal density over normal distribution function, the derivative of `LogNormalCDF`."""

    nfunc_spec = (f"{_MODULE}.inverse_mills_ratio", 1, 1)

    def impl(self, x: Any) -> Any:
        """Compute it in SciPy."""
        return special_functions.inverse_mills_ratio(x)[()]

    def L_op(self, inputs: Any, outputs: Any, gradients: Any) -> list[Any]:
        """Return `-m (m + x)`, times the gradient."""
        return [-gradients[0] * outputs[0] * (outputs[0] + inputs[0])]

    def c_support_code(self, **_: Any) -> str:
        """Define the function."""
        return _NORMAL_TAIL

    def c_code(self, node: Any, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Write it in C."""
        return f"{outputs[0]} = bayesrun_mills({inputs[0]});"

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Count the versions of the C code."""
        return (1,)


class LogAddExp(BinaryScalarOp):  # type: ignore[misc]
    """`log(exp(a) + exp(b))`."""

    nfunc_spec = ("logaddexp", 2, 1)

    def impl(self, a: Any, b: Any) -> Any:
        """Compute it in NumPy."""
        return np.logaddexp(a, b)

    def L_op(self, inputs: Any, outputs: Any, gradients: Any) -> list[Any]:
        """Return the share of each, times the gradient."""
        a, b = inputs
        return [gradients[0] * scalar_sigmoid(a - b), gradients[0] * scalar_sigmoid(b - a)]

    def c_code(self, node: Any, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Write it in C; the case of two equal infinities is handled."""
        (a, b), (z,) = inputs, outputs
        larger = f"({a} > {b} ? {a} : {b})"
        return f"{z} = {a} == {b} ? {a} + 0.6931471805599453 : {larger} + log1p(exp(-fabs({a} - {b})));"

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Count the versions of the C code."""
        return (1,)


_NORMAL_TAIL = """
#ifndef BAYESRUN_NORMAL_TAIL
#define BAYESRUN_NORMAL_TAIL
/* 1 - 1/x^2 + 3/x^4 - ...: sqrt(2 pi) |x| exp(x^2 / 2) times the distribution function at x < -20 */
static double bayesrun_tail_series(double x) {
    double r = 1.0 / (x * x), term = 1.0, sum = 1.0;
    for (int k = 1; k < 12; ++k) { term *= -(2 * k - 1) * r; sum += term; }
    return sum;
}
static double bayesrun_log_ndtr(double x) {
    if (x > 0.0) return log1p(-0.5 * erfc(x * 0.70710678118654752));
    if (x > -20.0) return log(0.5 * erfc(-x * 0.70710678118654752));
    return -0.5 * x * x - log(-x) - 0.91893853320467274 + log(bayesrun_tail_series(x));
}
static double bayesrun_mills(double x) {
    if (x > -20.0) return 0.39894228040143268 * exp(-0.5 * x * x) / (0.5 * erfc(-x * 0.70710678118654752));
    return -x / bayesrun_tail_series(x);
}
#endif
"""

mills_ratio = InverseMillsRatio(upgrade_to_float, name="inverse_mills_ratio")
log1mexp = Elemwise(Log1mExp(upgrade_to_float, name="log1mexp"))
log_normal_cdf = Elemwise(LogNormalCDF(upgrade_to_float, name="log_normal_cdf"))
logaddexp = Elemwise(LogAddExp(upgrade_to_float, name="logaddexp"))
