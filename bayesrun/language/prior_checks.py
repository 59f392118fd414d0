"""Checks of priors and likelihoods in YAML that need neither data nor an engine, nor NumPy.

A prior is `{dist: NAME, PARAM: VALUE, ...}` with optional `dims`, `shape`, `initval`, `transform` and
`parameterization`. A VALUE is a number, a list, or the text of an expression; fixed values are checked against the
parameter's domain. A likelihood takes modifiers in addition:

weights:   w                                    # times its term of the log likelihood
censored:  {status: column, upper: column}      # none, left, right or interval, by row
censored:  {lower: expression, upper: expression}
truncated: {lower: expression, upper: expression}
observed_if: condition                          # rows where it is false are not observed
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bayesrun.errors import Problem, UserError, did_you_mean
from bayesrun.language.distributions import (
    FAMILIES,
    LEFT_OUT,
    SIZED_BY_DIM,
    Distribution,
    DistributionParameter,
    distributions,
    family,
    truncatable,
)
from bayesrun.language.grammar import parse
from bayesrun.language.kernel_checks import basis_problems, input_problems, kernel_problems, process_problems

OPTIONS = ("dims", "shape", "initval", "transform", "parameterization")
TRANSFORMS = ("ordered", "log", "softplus", "log_exp_m1", "logodds", "circular", "sum_to_1", "stick_breaking", "none")
SOFTPLUS_SCALES = {"HalfNormal": "sigma", "HalfCauchy": "beta", "HalfStudentT": "sigma", "Exponential": "lam"}
"""Parameter that gives `transform: softplus` its scale, by family; `lam` is the inverse of one."""
_NONCENTERED = ("CAR", "GaussianProcess", "ICAR", "GaussianRandomWalk", "MvNormal")
"""Families other than location-scale families that can be constructed from a standard one."""
MARGINAL = "Marginal"
"""`dist` of a discrete variable that is summed out."""
PARAMETERIZATIONS = ("centered", "noncentered", "whitened")
_OLD_NAMES = {"sd": "sigma", "testval": "initval", "Sigma": "cov", "observed": ""}
_OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "bernoulli_logit": "Bernoulli with logit_p",
        "binomial_logit": "Binomial with p: sigmoid(...)",
        "chi_square": "ChiSquared",
        "dbern": "Bernoulli",
        "dnorm": "Normal",
        "dt": "StudentT",
        "double_exponential": "Laplace, with b for the scale",
        "exp_mod_normal": "ExGaussian",
        "gaussian": "Normal",
        "inv_gamma": "InverseGamma",
        "inv_wishart": "LKJCholeskyCov, a prior of the Cholesky factor of a covariance",
        "inversewishart": "LKJCholeskyCov, a prior of the Cholesky factor of a covariance",
        "lkj_corr_cholesky": "LKJCholeskyCov, which has the scales, too",
        "multi_normal": "MvNormal with cov",
        "multi_normal_cholesky": "MvNormal with chol",
        "multi_normal_prec": "MvNormal with tau",
        "multi_student_t": "MvStudentT",
        "neg_binomial_2": "NegativeBinomial with mu and alpha",
        "neg_binomial_2_log": "NegativeBinomial with mu: exp(...) and alpha",
        "poisson_log": "Poisson with mu: exp(...)",
        "uniform_int": "DiscreteUniform",
        "categorical_logit": "CategoricalLogit, whose first score is 0",
        "gaussian_process": "GaussianProcess with a kernel",
        "gp": "GaussianProcess with a kernel",
    }
)
"""What distributions of Stan, R and others are called here, where more than the spelling differs."""
_INVERSES = {"logit": "sigmoid", "log": "exp"}
_Test = Callable[[float], bool]
_TESTS: Mapping[str, tuple[_Test, str]] = MappingProxyType(
    {
        "real": (lambda v: True, "a number"),
        "positive": (lambda v: v > 0, "above 0"),
        "nonnegative": (lambda v: v >= 0, "0 or above"),
        "unit": (lambda v: 0 <= v <= 1, "between 0 and 1"),
        "simplex": (lambda v: 0 <= v <= 1, "between 0 and 1"),
        "count": (lambda v: v >= 0 and v == math.floor(v), "a whole number, 0 or above"),
        "size": (lambda v: v >= 1 and v == math.floor(v), "a whole number, 1 or above"),
        "integer": (lambda v: v == math.floor(v), "a whole number"),
        "matrices": (lambda v: True, "a number"),
        "steps": (lambda v: True, "a number"),
        "number": (lambda v: v > 0, "above 0"),
    }
)
_INFINITE = ("lower", "upper")
_TOLERANCE = 1e-6


def check_prior(key: str, prior: Mapping[str, Any], observed: bool = False) -> list[Problem]:
    """Find all errors in a prior that can be detected without data.

    Parameters
    ----------
    key
        Config key of the prior (`model.priors.mu`).
    prior
        What the YAML says.
    observed
        Whether it is the distribution of a likelihood.

    Returns
    -------
    list of Problem
        All errors: names, types, domains, options, and expressions that do not parse.
    """
    if not isinstance(prior, Mapping):
        return [Problem(key, f"must be a prior such as {{dist: Normal, mu: 0, sigma: 1}} (got {prior!r})")]
    name = prior.get("dist")
    if name is None:
        return [Problem(f"{key}.dist", "is required but missing", "name a distribution, such as dist: Normal")]
    if name == MARGINAL:
        return list(_marginal_problems(key, prior, observed))
    known = family(name) if isinstance(name, str) else None
    if known is None:
        return [Problem(f"{key}.dist", f"unknown distribution {name!r}", _hint_for_unknown(str(name)))]
    given = {str(k): v for k, v in prior.items() if v is not None and k != "dist"}
    problems = list(_wrong_factor(key, known, given))
    if known.name in SIZED_BY_DIM and given.get("dims") is not None:
        given = {"n": 1, **given}
    problems += [
        *_unknown_keys(key, known, given),
        *_missing(key, known, given),
        *_wrong_values(key, known, given),
        *_wrong_bounds(key, given),
        *_wrong_options(key, known, given),
    ]
    if known.name == "GaussianProcess" and not problems:
        problems += process_problems(key, given, observed)
    return problems


def _wrong_factor(key: str, known: Distribution, given: Mapping[str, Any]) -> Iterator[Problem]:
    """Check the axes of a distribution of square matrices."""
    dims = given.get("dims")
    if known.name not in SIZED_BY_DIM:
        return
    if _is_list(dims) and len(dims) != 1:  # type: ignore[arg-type]
        yield Problem(
            f"{key}.dims", f"{known.name} has one dim, that of its rows (got {dims!r})", "write dims: [effect]"
        )


def _marginal_problems(key: str, prior: Mapping[str, Any], observed: bool) -> Iterator[Problem]:
    """Check a variable that is summed out: its distribution is that of `of`."""
    if observed:
        yield Problem(f"{key}.dist", "an observed variable can't be summed out", "give it its own distribution")
        return
    for name in prior:
        if name not in ("dist", "of"):
            own = f"{{dist: ..., dims: {prior[name]}}}" if name in ("dims", "over") else "{dist: ...}"
            yield Problem(f"{key}.{name}", f"{MARGINAL} has no key '{name}'", f"write {MARGINAL}, of: {own}")
    if not isinstance(prior.get("of"), Mapping):
        yield Problem(
            f"{key}.of", "is required: its distribution", "write of: {dist: DiscreteUniform, lower: 1, upper: 9}"
        )
        return
    yield from check_prior(f"{key}.of", prior["of"])
    for option in OPTIONS:
        if option != "dims" and prior["of"].get(option) is not None:
            message = f"'{option}' does not apply to a {MARGINAL} variable"
            hint = "name its axes: dims: [site]" if option == "shape" else "remove it"
            yield Problem(f"{key}.of.{option}", message, hint)


def _hint_for_unknown(name: str) -> str:
    if name in LEFT_OUT:
        return f"{name} needs Python code; register a builder for it"
    other = _OTHER_NAMES.get(name.lower().removesuffix("_lpdf").removesuffix("_lpmf"))
    if other is not None:
        return f"{name}: here {other}"
    same = [known for known in distributions() if known.lower() == name.lower().replace("_", "")]
    return f"did you mean '{same[0]}'?" if same else did_you_mean(name, distributions())


def _allowed(known: Distribution) -> list[str]:
    bounds = ("lower", "upper") if truncatable(known) else ()
    return [*known.parameters, *bounds, *OPTIONS]


def _unknown_keys(key: str, known: Distribution, given: Mapping[str, Any]) -> Iterator[Problem]:
    allowed = _allowed(known)
    for name in given:
        if name not in allowed:
            yield Problem(f"{key}.{name}", f"{known.name} has no parameter '{name}'", _instead_of(name, allowed))


def _instead_of(name: str, allowed: Sequence[str]) -> str:
    """Return a hint for a parameter that a distribution does not have."""
    if _OLD_NAMES.get(name) in allowed:
        return f"use '{_OLD_NAMES[name]}'"
    link, _, parameter = name.partition("_")
    if link in _INVERSES and parameter in allowed:
        return f"use '{parameter}': {_INVERSES[link]}(...)"
    return did_you_mean(name, allowed)


def _missing(key: str, known: Distribution, given: Mapping[str, Any]) -> Iterator[Problem]:
    for group in known.required:
        names = frozenset().union(*group)
        got = names & given.keys()
        if got in group:
            continue
        wanted = " or ".join(" and ".join(sorted(a, key=list(known.parameters).index)) for a in group)
        if any(got < alternative for alternative in group):
            have = f" (got {', '.join(sorted(got))} only)" if got else ""
            sized = known.name in SIZED_BY_DIM and "n" in wanted
            hint = "write n: 2, or dims: with the dim of its rows" if sized else "add what is missing"
            yield Problem(key, f"{known.name} needs {wanted}{have}", hint)
        else:
            yield Problem(key, f"{known.name} takes {wanted}, not {' with '.join(sorted(got))}", "remove one of them")


def _wrong_values(key: str, known: Distribution, given: Mapping[str, Any]) -> Iterator[Problem]:
    for name, value in given.items():
        parameter = known.parameters.get(name)
        if parameter is None and name in ("lower", "upper") and truncatable(known):
            parameter = DistributionParameter(name, "real")
        if parameter is None:
            continue
        where = f"{key}.{name}"
        if parameter.domain == "distribution":
            yield from _inner(where, value)
        elif parameter.domain == "distributions":
            yield from _inner_list(where, value)
        elif parameter.domain == "kernel":
            yield from kernel_problems(where, value, _of_part)
        elif parameter.domain == "inputs":
            yield from input_problems(where, value, _of_part)
        elif parameter.domain == "basis":
            yield from basis_problems(where, value)
        elif parameter.domain == "number" and not _number(value):
            yield Problem(where, f"must be a number (got {value!r})", "it is fixed, such as 1e-8")
        else:
            yield from value_problems(where, value, parameter)


def _of_part(key: str, value: Any, name: str, domain: str) -> Iterator[Problem]:
    """Check a number inside of a parameter that is a mapping."""
    yield from value_problems(key, value, DistributionParameter(name, domain))


def _inner(key: str, prior: Any) -> Iterator[Problem]:
    """Check a nested distribution, which has neither a name nor its own dims."""
    yield from check_prior(key, prior)
    if isinstance(prior, Mapping):
        for option in ("dims", "initval", "transform", "parameterization"):
            if prior.get(option) is not None:
                yield Problem(f"{key}.{option}", f"'{option}' has no meaning inside another distribution", "remove it")


def _inner_list(key: str, priors: Any) -> Iterator[Problem]:
    if not isinstance(priors, Sequence) or isinstance(priors, str) or len(priors) < 2:
        yield Problem(key, f"must be a list of two or more distributions (got {priors!r})", "write [{dist: ...}, ...]")
        return
    for index, prior in enumerate(priors):
        yield from _inner(f"{key}[{index}]", prior)


def _wrong_bounds(key: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    lower, upper = given.get("lower"), given.get("upper")
    if _number(lower) and _number(upper) and not lower < upper:  # type: ignore[operator]
        yield Problem(f"{key}.upper", f"must be above lower (got lower {lower}, upper {upper})")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _wrong_options(key: str, known: Distribution, given: Mapping[str, Any]) -> Iterator[Problem]:
    if "dims" in given and "shape" in given:
        yield Problem(f"{key}.shape", "dims and shape can't be given together", "keep one of them")
    yield from dims_problems(f"{key}.dims", given.get("dims"))
    yield from _wrong_shape(f"{key}.shape", given.get("shape"))
    if "initval" in given:
        yield from value_problems(f"{key}.initval", given["initval"], DistributionParameter("initval", "real"))
    for option, choices in (("transform", TRANSFORMS), ("parameterization", PARAMETERIZATIONS)):
        if option in given and given[option] not in choices:
            hint = did_you_mean(str(given[option]), choices)
            yield Problem(f"{key}.{option}", f"unknown {option} {given[option]!r}", hint)
    yield from _unfit_parameterization(key, known, given)
    if known.discrete and given.get("transform") in TRANSFORMS:
        yield Problem(f"{key}.transform", f"{known.name} is discrete and can't be transformed", "remove it")
    if given.get("transform") == "softplus" and given.get(SOFTPLUS_SCALES.get(known.name, "")) is None:
        able = ", ".join(f"{name} ({parameter})" for name, parameter in SOFTPLUS_SCALES.items())
        message = f"softplus needs a family whose scale is given, which this {known.name} is not"
        yield Problem(f"{key}.transform", message, f"use log, or one of {able}")


def _unfit_parameterization(key: str, known: Distribution, given: Mapping[str, Any]) -> Iterator[Problem]:
    where, wanted = f"{key}.parameterization", given.get("parameterization")
    if wanted == "noncentered" and not known.location_scale and known.name not in _NONCENTERED:
        able = ", ".join(sorted(n for n, f in FAMILIES.items() if f.location_scale or n in _NONCENTERED))
        yield Problem(where, f"{known.name} is not a location-scale family", f"noncentered is possible for {able}")
    for option in ("initval", "transform"):
        if known.composed and given.get(option) is not None:
            yield Problem(f"{key}.{option}", f"'{option}' does not apply to a {known.name}", "remove it")
    if known.name in ("CAR", "ICAR") and wanted == "centered":
        yield Problem(where, f"{known.name} is sampled by standard normal variables", "remove it")
    if wanted == "whitened" and known.name != "GaussianRandomWalk":
        yield Problem(where, f"whitened is possible for GaussianRandomWalk only, not {known.name}", "remove it")
    for other in ("transform", "lower", "upper"):
        if wanted in ("noncentered", "whitened") and given.get(other) is not None:
            yield Problem(where, f"{wanted} can't be combined with {other}", "remove one of them")


def dims_problems(key: str, dims: Any) -> Iterator[Problem]:
    """Return what is wrong with a list of dim names; None if it is valid."""
    if dims is None or (isinstance(dims, str) and dims.isidentifier()):
        return
    listed = isinstance(dims, Sequence) and not isinstance(dims, str)
    if not listed or not all(isinstance(d, str) and d for d in dims):
        yield Problem(key, f"must be a list of dim names (got {dims!r})", "write dims: [school]")
    elif len(set(dims)) < len(dims):
        yield Problem(key, f"names a dim twice (got {list(dims)})", "each dim once; give the second one its own name")


def _wrong_shape(key: str, shape: Any) -> Iterator[Problem]:
    sizes = shape if isinstance(shape, Sequence) and not isinstance(shape, str) else [shape]
    if shape is not None and not all(type(size) is int and size > 0 for size in sizes):
        yield Problem(
            key, f"must be a whole number above 0 or a list of them (got {shape!r})", "use dims for named axes"
        )


def value_problems(key: str, value: Any, parameter: DistributionParameter) -> Iterator[Problem]:
    """Find the errors in a parameter's value in YAML.

    Parameters
    ----------
    key
        Config key of the value.
    value
        Number, (nested) list of numbers and expressions, or the text of an expression.
    parameter
        The parameter.
    """
    if parameter.domain == "bool":
        if not isinstance(value, bool):
            yield Problem(key, f"must be true or false (got {value!r})")
    elif parameter.domain == "text":
        if not isinstance(value, str):
            yield Problem(key, f"must be a name (got {value!r})")
    elif _is_list(value):
        yield from _list_problems(key, value, parameter)
    else:
        yield from _scalar_problems(key, value, parameter)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _list_problems(key: str, values: Sequence[Any], parameter: DistributionParameter) -> Iterator[Problem]:
    if not values:
        yield Problem(key, "is an empty list", "give at least one number")
        return
    inner = [_is_list(v) for v in values]
    if any(inner) and (not all(inner) or (len({len(v) for v in values}) > 1 and parameter.domain != "matrices")):
        yield Problem(key, "is ragged: all its rows must have the same length")
        return
    problems = [p for i, v in enumerate(values) for p in value_problems(f"{key}[{i}]", v, parameter)]
    yield from problems
    if parameter.domain == "simplex" and not problems:
        yield from _simplex_problems(key, values)


def _simplex_problems(key: str, values: Sequence[Any]) -> Iterator[Problem]:
    numbers = [v for v in values if isinstance(v, (int, float))]
    if len(numbers) == len(values) and abs(sum(numbers) - 1) > _TOLERANCE:
        yield Problem(key, f"must sum to 1 (sums to {sum(numbers):g})")


def _scalar_problems(key: str, value: Any, parameter: DistributionParameter) -> Iterator[Problem]:
    if isinstance(value, str):
        yield from _text_problems(key, value, parameter)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        yield Problem(key, f"must be a number, a list or an expression (got {value!r})")
    else:
        yield from _number_problems(key, float(value), parameter)


def _text_problems(key: str, text: str, parameter: DistributionParameter) -> Iterator[Problem]:
    try:
        tree = parse(text, key).tree
    except UserError as error:
        yield from error.problems
        return
    number = _literal(tree)
    if number is not None:
        yield from _number_problems(key, number, parameter)


def _literal(tree: ast.expr) -> float | None:
    """Return the number if an expression consists only of a number (`1e-3` is text in YAML 1.1)."""
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        inner = _literal(tree.operand)
        return None if inner is None else -inner
    return float(tree.value) if isinstance(tree, ast.Constant) and isinstance(tree.value, (int, float)) else None


def _number_problems(key: str, number: float, parameter: DistributionParameter) -> Iterator[Problem]:
    test, words = _TESTS[parameter.domain]
    if math.isnan(number) or (math.isinf(number) and parameter.name not in _INFINITE):
        yield Problem(key, f"must be a finite number (got {number})")
    elif math.isfinite(number) and not test(number):
        yield Problem(key, f"must be {words} (got {number:g})")


MODIFIERS = ("weights", "censored", "truncated", "observed_if")
_KEYS = {"censored": ("status", "lower", "upper"), "truncated": ("lower", "upper")}
_EXAMPLES = {
    "censored": "write {status: column} or {lower: 0}",
    "truncated": "write {lower: 0}, {upper: 10} or both",
}
_ANY = DistributionParameter("limit", "real")


def split(body: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a likelihood into its distribution and its modifiers."""
    own = {name: given for name, given in body.items() if name not in MODIFIERS}
    return own, {name: body[name] for name in MODIFIERS if body.get(name) is not None}


def modifier_problems(key: str, modifiers: Mapping[str, Any]) -> Iterator[Problem]:
    """Find the errors in a likelihood's modifiers that can be detected without data.

    Parameters
    ----------
    key
        Config key of the likelihood.
    modifiers
        The second part of `split`.
    """
    for name, given in modifiers.items():
        where = f"{key}.{name}"
        if name == "weights":
            yield from value_problems(where, given, DistributionParameter("weights", "nonnegative"))
        elif name == "observed_if":
            yield from value_problems(where, given, DistributionParameter("observed_if", "real"))
        elif not isinstance(given, Mapping) or not given:
            yield Problem(where, f"must be a mapping of limits (got {given!r})", _EXAMPLES[name])
        else:
            yield from _limit_problems(where, name, given)


def _limit_problems(key: str, modifier: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    allowed = _KEYS[modifier]
    for name, value in given.items():
        if name not in allowed:
            yield Problem(f"{key}.{name}", f"{modifier} has no key '{name}'", did_you_mean(str(name), allowed))
        elif value is not None:
            yield from value_problems(f"{key}.{name}", value, _ANY)
    if given.get("status") is not None and given.get("lower") is not None:
        hint = "keep status for limits that differ by row, lower and upper for those of an instrument"
        yield Problem(f"{key}.lower", "status and lower can't be given together", hint)
    if all(limit is None for limit in given.values()):
        yield Problem(key, "has no limit", _EXAMPLES[modifier])
    low, high = given.get("lower"), given.get("upper")
    if all(isinstance(limit, (int, float)) for limit in (low, high)) and not low < high:  # type: ignore[operator]
        yield Problem(f"{key}.upper", f"must be above lower (got lower {low}, upper {high})")
