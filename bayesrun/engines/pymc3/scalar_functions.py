"""Scalar functions that Theano lacks, in C, with derivatives that are exact in the tails.

Log probabilities, for which compositions of Theano's own operations give a gradient of NaN where a branch that is not
taken overflows, and the tails of gamma and beta distributions. Each agrees with the function of the same name in
`bayesrun.language.special_functions`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from theano import scalar
from theano.scalar.basic import BinaryScalarOp, ScalarOp, UnaryScalarOp, upgrade_to_float
from theano.tensor.elemwise import Elemwise
from theano.tensor.nnet.sigm import scalar_sigmoid

from bayesrun.language import special_functions

_MODULE = "bayesrun.language.special_functions"


class _InC:
    """What all of them share."""

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Count the versions of the C code."""
        return (1,)


class Log1mExp(_InC, UnaryScalarOp):  # type: ignore[misc]  # Theano has no type hints
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


class LogNormalCDF(_InC, UnaryScalarOp):  # type: ignore[misc]
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


class InverseMillsRatio(_InC, UnaryScalarOp):  # type: ignore[misc]
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


class LogAddExp(_InC, BinaryScalarOp):  # type: ignore[misc]
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


class _Part(_InC, ScalarOp):  # type: ignore[misc]  # Theano has no type hints
    """One of the results of a function in NumPy, and of its twin in C."""

    function: Any = None
    c_name = ""
    part = 0

    def impl(self, *inputs: Any) -> Any:
        """Compute it in NumPy."""
        return np.asarray(type(self).function(*inputs)[self.part])[()]

    def c_support_code(self, **_: Any) -> str:
        """Define the functions."""
        return _CODE

    def c_code(self, node: Any, name: str, inputs: Any, outputs: Any, sub: Any) -> str:
        """Write it in C."""
        given, (z,) = ", ".join(inputs), outputs
        return f"{{ double results[6]; {self.c_name}({given}, results); {z} = results[{self.part}]; }}"


class _GammaPart(_Part):
    nin = 2
    function = staticmethod(special_functions.log_gamma_tails)
    c_name = "bayesrun_gamma_tails"


class _BetaPart(_Part):
    nin = 3
    function = staticmethod(special_functions.log_beta_tails)
    c_name = "bayesrun_beta_tails"


class LogGammaP(_GammaPart):
    """`log P(a, x)`."""

    part = 0
    sign = 1.0

    def L_op(self, inputs: Any, outputs: Any, gradients: Any) -> list[Any]:
        """Return the slopes by shape and limit, times the gradient."""
        a, x = inputs
        density = scalar.exp((a - 1.0) * scalar.log(x) - x - scalar.gammaln(a) - outputs[0])
        return [gradients[0] * self.slope(a, x), self.sign * gradients[0] * density]

    def slope(self, a: Any, x: Any) -> Any:
        """Return the slope by the shape."""
        return log_gamma_p_slope(a, x)


class LogGammaQ(LogGammaP):
    """`log Q(a, x)`."""

    part = 1
    sign = -1.0

    def slope(self, a: Any, x: Any) -> Any:
        """Return the slope by the shape."""
        return log_gamma_q_slope(a, x)


class LogGammaPSlope(_GammaPart):
    """The derivative of `log P(a, x)` by `a`."""

    part = 2


class LogGammaQSlope(_GammaPart):
    """The derivative of `log Q(a, x)` by `a`."""

    part = 3


class LogBetaI(_BetaPart):
    """`log I(a, b)` at `sigmoid(z)`."""

    part = 0
    sign = 1.0

    def L_op(self, inputs: Any, outputs: Any, gradients: Any) -> list[Any]:
        """Return the slopes by shapes and log odds, times the gradient."""
        a, b, z = inputs
        norm = scalar.gammaln(a + b) - scalar.gammaln(a) - scalar.gammaln(b)
        # log(x) = -log(1 + exp(-z)), without overflow
        larger, rest = scalar.scalar_maximum(z, 0.0), scalar.log1p(scalar.exp(-scalar.abs_(z)))
        density = scalar.exp(norm - a * (larger - z + rest) - b * (larger + rest) - outputs[0])
        by_a, by_b = self.slopes(a, b, z)
        return [gradients[0] * by_a, gradients[0] * by_b, self.sign * gradients[0] * density]

    def slopes(self, *inputs: Any) -> tuple[Any, Any]:
        """Return the slopes by the shapes."""
        return _beta_slopes[0](*inputs), _beta_slopes[1](*inputs)


class LogBetaRest(LogBetaI):
    """`log(1 - I(a, b))` at `sigmoid(z)`."""

    part = 1
    sign = -1.0

    def slopes(self, *inputs: Any) -> tuple[Any, Any]:
        """Return the slopes by the shapes."""
        return _beta_slopes[2](*inputs), _beta_slopes[3](*inputs)


class LogBetaIByA(_BetaPart):
    """The derivative of `log I(a, b)` by `a`."""

    part = 2


class LogBetaIByB(_BetaPart):
    """The derivative of `log I(a, b)` by `b`."""

    part = 3


class LogBetaRestByA(_BetaPart):
    """The derivative of `log(1 - I(a, b))` by `a`."""

    part = 4


class LogBetaRestByB(_BetaPart):
    """The derivative of `log(1 - I(a, b))` by `b`."""

    part = 5


_CODE = r"""
#ifndef BAYESRUN_INCOMPLETE
#define BAYESRUN_INCOMPLETE
#include <math.h>
#define BAYESRUN_EPSILON 4e-15
#define BAYESRUN_LONGEST 20000

static double bayesrun_digamma(double x) {
    double sum = 0.0;
    while (x < 12.0) { sum -= 1.0 / x; x += 1.0; }
    double r = 1.0 / (x * x);
    return sum + log(x) - 0.5 / x - r * (1.0/12 - r * (1.0/120 - r * (1.0/252 - r * (1.0/240
        - r * (1.0/132 - r * (691.0/32760 - r * (1.0/12 - r * 3617.0/8160)))))));
}
static double bayesrun_log1mexp(double x) {
    return x > -0.6931471805599453 ? log(-expm1(x)) : log1p(-exp(x));
}
static bool bayesrun_unsettled(double step, double step_slope, double relative) {
    return fabs(step - 1.0) > BAYESRUN_EPSILON || fabs(step_slope) > BAYESRUN_EPSILON * (1.0 + fabs(relative));
}
static double bayesrun_finite(double x) { return isfinite(x) ? x : 0.0; }

/* log P, log Q, and their derivatives by a */
static void bayesrun_gamma_tails(double a, double x, double* out) {
    double power = a * log(x) - x;
    if (x < a + 1.0) {
        double term = 1.0, slope = 0.0, total = 1.0, total_slope = 0.0;
        for (int n = 1; n < BAYESRUN_LONGEST; ++n) {
            slope = (slope - term / (a + n)) * x / (a + n);
            term *= x / (a + n);
            total += term; total_slope += slope;
            if (!(term > BAYESRUN_EPSILON * total || fabs(slope) > BAYESRUN_EPSILON * fabs(total_slope))) break;
        }
        double logs = power - lgamma(a + 1.0) + log(total);
        double by_a = log(x) - bayesrun_digamma(a + 1.0) + total_slope / total;
        out[0] = logs; out[1] = bayesrun_log1mexp(logs);
        out[2] = bayesrun_finite(by_a); out[3] = bayesrun_finite(-by_a / expm1(-logs));
    } else {
        double b = x + 1.0 - a, c = 1e300, cs = 0.0, d = 1.0 / b, ds = d * d, value = d, slope = ds;
        for (int n = 1; n < BAYESRUN_LONGEST; ++n) {
            double factor = -n * (n - a);
            b += 2.0;
            double c_old = c, cs_old = cs;
            c = b + factor / c_old; cs = -1.0 + n / c_old - factor * cs_old / (c_old * c_old);
            double below = b + factor * d, below_slope = -1.0 + n * d + factor * ds;
            d = 1.0 / below; ds = -below_slope * d * d;
            double step = c * d, step_slope = cs * d + c * ds;
            slope = slope * step + value * step_slope; value *= step;
            if (!bayesrun_unsettled(step, step_slope, slope / value)) break;
        }
        double logs = power - lgamma(a) + log(value);
        double by_a = log(x) - bayesrun_digamma(a) + slope / value;
        out[0] = bayesrun_log1mexp(logs); out[1] = logs;
        out[2] = bayesrun_finite(-by_a / expm1(-logs)); out[3] = bayesrun_finite(by_a);
    }
}

/* log I, log(1 - I), and the derivatives of each by a and b, at x = sigmoid(z) */
static void bayesrun_beta_tails(double a, double b, double z, double* out) {
    bool is_low = 1.0 / (1.0 + exp(-z)) < (a + 1.0) / (a + b + 2.0);
    double p = is_low ? a : b, q = is_low ? b : a, at = is_low ? z : -z;
    double x = at > 0 ? 1.0 / (1.0 + exp(-at)) : exp(at) / (1.0 + exp(at));
    double c = 1.0, cs[2] = {0.0, 0.0}, below = 1.0 - (p + q) * x / (p + 1.0), d = 1.0 / below;
    double ds[2] = {x * (1.0 - q) / ((p + 1.0) * (p + 1.0)) * d * d, x / (p + 1.0) * d * d};
    double value = d, slopes[2] = {ds[0], ds[1]};
    for (int m = 1; m < BAYESRUN_LONGEST; ++m) {
        double k = p + 2.0 * m, odd = p + m, step = 1.0, step_slopes[2] = {0.0, 0.0};
        for (int half = 0; half < 2; ++half) {
            double factor, by[2];
            if (half == 0) {
                by[1] = m * x / ((k - 1.0) * k); factor = by[1] * (q - m);
                by[0] = factor * (-1.0 / (k - 1.0) - 1.0 / k);
            } else {
                by[1] = -odd * x / (k * (k + 1.0)); factor = by[1] * (odd + q);
                by[0] = factor * (1.0 / odd + 1.0 / (odd + q) - 1.0 / k - 1.0 / (k + 1.0));
            }
            double c_old = c, d_old = d;
            c = 1.0 + factor / c_old; d = 1.0 / (1.0 + factor * d_old);
            step = c * d;
            for (int i = 0; i < 2; ++i) {
                cs[i] = by[i] / c_old - factor * cs[i] / (c_old * c_old);
                ds[i] = -(by[i] * d_old + factor * ds[i]) * d * d;
                step_slopes[i] = cs[i] * d + c * ds[i];
                slopes[i] = slopes[i] * step + value * step_slopes[i];
            }
            value *= step;
        }
        if (!bayesrun_unsettled(step, step_slopes[0], slopes[0] / value)
            && !bayesrun_unsettled(step, step_slopes[1], slopes[1] / value)) break;
    }
    double rest = log1p(exp(-fabs(at))), log_x = (at < 0 ? at : 0.0) - rest, log_y = (at > 0 ? -at : 0.0) - rest;
    double both = bayesrun_digamma(p + q);
    double logs = p * log_x + q * log_y - (lgamma(p) + lgamma(q) - lgamma(p + q)) - log(p) + log(value);
    double by_p = log_x - bayesrun_digamma(p) + both - 1.0 / p + slopes[0] / value;
    double by_q = log_y - bayesrun_digamma(q) + both + slopes[1] / value;
    double share = -1.0 / expm1(-logs), by_a = is_low ? by_p : by_q, by_b = is_low ? by_q : by_p;
    int own = is_low ? 0 : 1;
    out[own] = logs; out[1 - own] = bayesrun_log1mexp(logs);
    out[2 + 2 * own] = bayesrun_finite(by_a); out[3 + 2 * own] = bayesrun_finite(by_b);
    out[4 - 2 * own] = bayesrun_finite(share * by_a); out[5 - 2 * own] = bayesrun_finite(share * by_b);
}
#endif
"""


def _scalar(operation: type[_Part]) -> Any:
    return operation(upgrade_to_float, name=operation.__name__)


log_gamma_p_slope, log_gamma_q_slope = _scalar(LogGammaPSlope), _scalar(LogGammaQSlope)
_beta_slopes = [_scalar(part) for part in (LogBetaIByA, LogBetaIByB, LogBetaRestByA, LogBetaRestByB)]
log_gamma_p, log_gamma_q = Elemwise(_scalar(LogGammaP)), Elemwise(_scalar(LogGammaQ))
log_beta_i, log_beta_rest = Elemwise(_scalar(LogBetaI)), Elemwise(_scalar(LogBetaRest))
