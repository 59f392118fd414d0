"""The covariance functions that YAML may name, and the checks of a kernel that need neither data nor NumPy.

A kernel is a mapping with one key: `{exp_quad: {sd: alpha, lengthscale: rho}}`, `{sum: [KERNEL, ...]}` or
`{product: [KERNEL, ...]}`. With `d` the distance of two points and `r` that distance in lengthscales:

exp_quad            sd^2 exp(-r^2 / 2)
matern12            sd^2 exp(-r)
matern32            sd^2 (1 + sqrt(3) r) exp(-sqrt(3) r)
matern52            sd^2 (1 + sqrt(5) r + 5 r^2 / 3) exp(-sqrt(5) r)
rational_quadratic  sd^2 (1 + r^2 / (2 alpha))^-alpha
periodic            sd^2 exp(-2 sin^2(pi d / period) / lengthscale^2)
linear              sd^2 (x - center) (x' - center), summed over the inputs
constant            sd^2
white_noise         sd^2 where both are the same row, else 0

Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, chapter 4; names as in Stan's `gp_exp_quad_cov`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bayesrun.errors import Problem, did_you_mean

KERNELS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "exp_quad": {"sd": "positive?", "lengthscale": "positive"},
        "matern12": {"sd": "positive?", "lengthscale": "positive"},
        "matern32": {"sd": "positive?", "lengthscale": "positive"},
        "matern52": {"sd": "positive?", "lengthscale": "positive"},
        "rational_quadratic": {"sd": "positive?", "lengthscale": "positive", "alpha": "positive"},
        "periodic": {"sd": "positive?", "lengthscale": "positive", "period": "positive"},
        "linear": {"sd": "positive?", "center": "real?"},
        "constant": {"sd": "positive"},
        "white_noise": {"sd": "positive"},
    }
)
"""Parameters of each covariance function with their domains; `?` marks optional ones."""
COMPOSED = ("sum", "product")
APPROXIMATED = ("exp_quad", "matern32", "matern52")
"""Covariance functions whose spectral density the Hilbert space approximation uses."""
_OTHER_NAMES = {
    "squared_exponential": "exp_quad",
    "expquad": "exp_quad",
    "rbf": "exp_quad",
    "se": "exp_quad",
    "gp_exp_quad_cov": "exp_quad",
    "cov_exp_quad": "exp_quad",
    "exponential": "matern12",
    "gp_exponential_cov": "matern12",
    "gp_matern32_cov": "matern32",
    "gp_matern52_cov": "matern52",
    "gp_periodic_cov": "periodic",
    "gp_dot_prod_cov": "linear",
    "dot_product": "linear",
    "ratquad": "rational_quadratic",
    "whitenoise": "white_noise",
    "noise": "white_noise",
    "add": "sum",
    "multiply": "product",
    "prod": "product",
}
_OTHER_PARAMETERS = {
    "sigma": "sd",
    "eta": "sd",
    "rho": "lengthscale",
    "ls": "lengthscale",
    "l": "lengthscale",
    "length_scale": "lengthscale",
    "magnitude": "sd",
    "c": "center",
}
_EXAMPLE = "write {exp_quad: {sd: alpha, lengthscale: rho}}"

CheckNumber = Callable[[str, Any, str, str], Iterable[Problem]]
"""`(key, value, name, domain) -> problems` of a number, list or expression."""


def kernel_problems(key: str, given: Any, check_number: CheckNumber) -> Iterator[Problem]:
    """Find the errors in a kernel.

    Parameters
    ----------
    key
        Its config key.
    given
        What the YAML says.
    check_number
        Checks the value of a parameter.
    """
    if not isinstance(given, Mapping) or len(given) != 1:
        names = f"{len(given)} keys: {', '.join(map(str, given))}" if isinstance(given, Mapping) else repr(given)
        hint = f"{_EXAMPLE}; join kernels by {{sum: [..., ...]}} or {{product: [..., ...]}}"
        yield Problem(key, f"must be a mapping with one kernel (got {names})", hint)
        return
    name, body = next(iter(given.items()))
    where = f"{key}.{name}"
    if name in COMPOSED:
        if not isinstance(body, Sequence) or isinstance(body, str) or len(body) < 2:
            yield Problem(where, f"must be a list of two or more kernels (got {body!r})", f"{_EXAMPLE} for each")
            return
        for number, part in enumerate(body):
            yield from kernel_problems(f"{where}[{number}]", part, check_number)
    elif name not in KERNELS:
        same = _OTHER_NAMES.get(str(name).lower())
        hint = f"{name}: here {same}" if same else did_you_mean(str(name), (*KERNELS, *COMPOSED))
        yield Problem(where, f"there is no kernel '{name}'", hint)
    else:
        yield from _leaf_problems(where, str(name), {} if body is None else body, check_number)


def _leaf_problems(key: str, name: str, body: Any, check_number: CheckNumber) -> Iterator[Problem]:
    if not isinstance(body, Mapping):
        yield Problem(key, f"must be a mapping of parameters (got {body!r})", _EXAMPLE)
        return
    parameters = KERNELS[name]
    for parameter, value in body.items():
        if parameter == "x":
            yield from input_problems(f"{key}.x", value, check_number)
        elif parameter not in parameters:
            same = _OTHER_PARAMETERS.get(str(parameter))
            hint = f"use '{same}'" if same in parameters else did_you_mean(str(parameter), (*parameters, "x"))
            yield Problem(f"{key}.{parameter}", f"{name} has no parameter '{parameter}'", hint)
        elif value is not None:
            domain = parameters[parameter].rstrip("?")
            yield from check_number(f"{key}.{parameter}", value, str(parameter), domain)
    for parameter, domain in parameters.items():
        if not domain.endswith("?") and body.get(parameter) is None:
            yield Problem(f"{key}.{parameter}", "is required but missing", f"{name} takes {', '.join(parameters)}")


def input_problems(key: str, given: Any, check_number: CheckNumber) -> Iterator[Problem]:
    """Find the errors in the inputs of a process: a column, or a list of columns."""
    listed = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    if not listed or not all(isinstance(text, str) for text in listed):
        yield Problem(
            key, f"must be a column or a list of columns (got {given!r})", "write x: time or x: [east, north]"
        )
        return
    for text in listed:
        yield from check_number(key, text, "x", "real")


def basis_problems(key: str, given: Any) -> Iterator[Problem]:
    """Find the errors in the settings of the Hilbert space approximation."""
    if not isinstance(given, Mapping):
        yield Problem(key, f"must be a mapping of settings (got {given!r})", "write hsgp: {m: 20, c: 1.5}, or hsgp: {}")
        return
    for name, value in given.items():
        values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if name not in ("m", "c"):
            yield Problem(f"{key}.{name}", f"hsgp has no key '{name}'", "allowed: m (basis functions), c (boundary)")
        elif name == "m" and not all(type(one) is int and one >= 2 for one in values):
            yield Problem(f"{key}.m", f"must be whole numbers above 1 (got {value!r})", "m: 20, or one for each input")
        elif name == "c" and not all(isinstance(n, int | float) and n is not True and 1 < n <= 100 for n in values):
            yield Problem(f"{key}.c", f"must be numbers above 1 (got {value!r})", "c: 1.5, or one for each input")


def leaves(key: str, kernel: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield key, name and parameters of each covariance function of a checked kernel."""
    name, body = next(iter(kernel.items()))
    if name not in COMPOSED:
        yield f"{key}.{name}", name, body or {}
        return
    for number, part in enumerate(body):
        yield from leaves(f"{key}.{name}[{number}]", part)


def process_problems(key: str, given: Mapping[str, Any], observed: bool) -> Iterator[Problem]:
    """Find what does not go together in a Gaussian process whose parts are right.

    Parameters
    ----------
    key
        Config key of the prior or likelihood.
    given
        Its body.
    observed
        Whether it is a likelihood.
    """
    kernel = given["kernel"]
    names = [name for _, name, _ in leaves(f"{key}.kernel", kernel)]
    if observed and given.get("hsgp") is not None:
        message = "hsgp approximates a latent process, not a marginalized one"
        yield Problem(f"{key}.hsgp", message, "make the process a prior f, and write y: {dist: Normal, mu: f, ...}")
    if observed and given.get("sigma") is None and "white_noise" not in names:
        yield Problem(f"{key}.sigma", "is required but missing: the sd of observations around the process", "write it")
    if not observed and given.get("sigma") is not None:
        message = "belongs to an observed process: a latent one has no observation noise"
        yield Problem(f"{key}.sigma", message, "remove it, or add a white_noise kernel")
    if given.get("hsgp") is None:
        return
    unfit = sorted({name for name in names if name not in APPROXIMATED})
    if unfit or "product" in kernel or any("product" in part for part in kernel.get("sum", ())):
        message = f"hsgp can't approximate {', '.join(unfit) or 'a product of kernels'}"
        yield Problem(f"{key}.hsgp", message, f"it takes {', '.join(APPROXIMATED)} and sums of them")
