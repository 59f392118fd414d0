"""Check, finding and verdict, the config section `diagnostics`, and all checks on one posterior.

A check needs a saved `InferenceData` and thresholds, never a model or the engine, so it can be run again on any
posterior.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import field_validator

from bayesrun.registry import Registry
from bayesrun.schema import Section

if TYPE_CHECKING:
    import arviz as az
    import pandas as pd

_LOG = logging.getLogger("bayesrun.diagnostics")

Severity = Literal["ok", "warn", "fail"]
INTERVAL = 0.94
"""Default of `intervals`: probability inside every interval in tables and figures."""
GOOD_K = 0.7
"""Largest Pareto k at which importance sampling is reliable (doi:10.48550/arXiv.1507.02646)."""
DRAWN_AFTERWARDS = "drawn_afterwards"
"""Attribute of variables of the posterior that were summed out while sampling."""
ROUNDING = 1e-14
"""Largest relative sd of draws that differ only by rounding errors."""
SEVERITIES: tuple[Severity, ...] = ("ok", "warn", "fail")


class Thresholds(Section):
    """Limits of the checks, `[warn, fail]` where not said otherwise. Shares refer to all draws or points.

    Parameters
    ----------
    r_hat
        Above: R-hat of any scalar.
    ess
        Below: total bulk and tail effective sample size.
    heavy_tails
        Above: Monte Carlo standard error of the sd of any scalar, relative to the sd; a single limit, which warns.
    divergences
        Above: share of draws.
    bfmi
        Below: Bayesian fraction of missing information.
    tree_depth
        Above: share of draws at the depth limit.
    pareto_k
        Above: share of points with k > 0.7; never worse than a warning.
    elbo
        Above: nats that the bound of ADVI still moves.
    approximation
        Above: Pareto k of the importance weights of ADVI.
    particles
        Below: share of the particles of SMC that move in the last stage.
    expected_data
        Above: share of the data that the prior simulates outside of `expect`.
    """

    r_hat: tuple[float, float] = (1.01, 1.05)
    ess: tuple[float, float] = (400.0, 100.0)
    heavy_tails: float = 0.08
    divergences: tuple[float, float] = (0.0, 0.01)
    bfmi: tuple[float, float] = (0.3, 0.2)
    tree_depth: tuple[float, float] = (0.01, 0.10)
    pareto_k: tuple[float, float] = (0.0, 0.05)
    elbo: tuple[float, float] = (0.1, 1.0)
    approximation: tuple[float, float] = (0.7, 1.0)
    particles: tuple[float, float] = (0.5, 0.1)
    expected_data: tuple[float, float] = (0.05, 0.5)


MOST_IN_AUTO = 100
"""Most scalars of a variable whose prior sensitivity is measured without being asked for."""


class LooSpec(Section):
    """Keys of `diagnostics.loo`.

    Parameters
    ----------
    repair
        What is done about points with a Pareto k above 0.7: `auto` matches moments in small models, `none` nothing.
    """

    repair: Literal["auto", "none"] = "auto"


class DiagnosticsSpec(Section):
    """Keys of `diagnostics`.

    Parameters
    ----------
    checks
        Names of the checks to run; null runs all that apply.
    thresholds
        Their limits.
    log_likelihood
        Whether to keep pointwise terms of the likelihood: `auto` keeps up to `log_likelihood_max` numbers.
    log_likelihood_max
        Most numbers (draws times points) of pointwise terms that `auto` keeps.
    prior_sensitivity
        Whether to measure how sensitive the posterior is to prior and likelihood: `auto` does so for variables of
        up to 100 scalars, and reports conflicts without a warning.
    expect
        Range `[lower, upper]` in which data are plausible, by explained variable: where the prior should simulate them.
    loo
        How leave-one-out cross-validation is made.
    fail_run
        Whether the verdict `fail` sets the exit status.
    """

    checks: list[str] | None = None
    thresholds: Thresholds = Thresholds()
    log_likelihood: Literal["auto"] | bool = "auto"
    log_likelihood_max: int = 50_000_000
    prior_sensitivity: Literal["auto"] | bool = "auto"
    expect: dict[str, tuple[float, float]] = {}
    loo: LooSpec = LooSpec()
    fail_run: bool = False

    @field_validator("expect")
    @classmethod
    def _ordered(cls, expect: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (low, high) in expect.items():
            if not low < high:
                raise ValueError(f"the range of '{name}' must be [lower, upper] with lower < upper")
        return expect


@dataclass(frozen=True)
class Finding:
    """One result of a check (a row of `findings.json`).

    Parameters
    ----------
    check
        Name of the check.
    severity
        `ok`, `warn` or `fail`.
    variable
        Scalar or point concerned (`theta[A]`); null for the run as a whole.
    value, threshold
        The measured value and the limit that it was compared with; null if there is none.
    message
        What was found.
    remedy
        Advice, as sentences; empty when `ok`. Config overrides are in backticks.
    """

    check: str
    severity: Severity
    message: str
    variable: str | None = None
    value: float | None = None
    threshold: float | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Judged:
    """The posterior to check.

    Parameters
    ----------
    idata
        The posterior with its groups.
    summary
        One row per scalar (`summary.csv`), so that checks need not recompute R-hat or ESS.
    method
        The sampler of the draws (`nuts`, `smc`, `advi`, `prior`).
    settings
        The config section.
    max_treedepth
        Tree depth limit of the run.
    missing_groups
        Groups of the InferenceData that are absent, with the reason.
    model, sampler
        These config sections as plain values, so that remedies suit the model.
    died
        Chains whose process died, and the reason.
    killed
        Whether the run was killed; the draws are those that had been stored by then.
    folder
        The run folder, for commands in remedies; empty where there is none.
    changes
        Changes of the step size of each chain that has any: the draws before that became warm-up, and the divergences
        seen by then.
    """

    idata: az.InferenceData
    summary: pd.DataFrame
    method: str
    settings: DiagnosticsSpec
    max_treedepth: int = 10
    missing_groups: Mapping[str, str] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    sampler: Mapping[str, Any] = field(default_factory=dict)
    died: Mapping[int, str] = field(default_factory=dict)
    killed: bool = False
    folder: str = ""
    changes: Mapping[int, Sequence[tuple[int, int]]] = field(default_factory=dict)

    @property
    def moving(self) -> pd.Series[bool]:
        """Whether each scalar's draws differ by more than rounding errors."""
        return self.summary["sd"] > ROUNDING * self.summary["mean"].abs()


@dataclass(frozen=True)
class CheckResult:
    """Findings of one check, and the numbers it adds to `metrics.json`."""

    findings: tuple[Finding, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """A registered check.

    Parameters
    ----------
    run
        `(judged) -> CheckResult`.
    methods
        Samplers to whose draws the check applies.
    """

    run: Callable[[Judged], CheckResult]
    methods: tuple[str, ...] = ("nuts", "smc")


CHECKS: Registry[Check] = Registry(
    "check",
    "bayesrun.diagnostics",
    "CHECK",
    Check,
    others=("advice", "calibration", "numerics", "summary"),
    shared={
        "convergence_checks": ("chains", "groups", "constant", "r_hat", "ess", "heavy_tails"),
        "sampler_checks": ("divergences", "tree_depth", "bfmi", "elbo", "approximation", "particles"),
        "predictive_accuracy": ("loo", "waic", "potentials"),
    },
)


def judge(judged: Judged) -> CheckResult:
    """Run every check that applies to the sampler of the draws.

    Parameters
    ----------
    judged
        The posterior, its summary and the settings.

    Returns
    -------
    CheckResult
        All findings, the worst first, and all metrics.
    """
    findings: list[Finding] = []
    metrics: dict[str, float] = {}
    for index, name in enumerate(judged.settings.checks or CHECKS.names()):
        check = CHECKS.load(name, f"diagnostics.checks[{index}]")
        if judged.method not in check.methods:
            continue
        result = _run(name, check.run, judged)
        findings += result.findings
        metrics |= result.metrics
    findings.sort(key=lambda f: -SEVERITIES.index(f.severity))
    return CheckResult(tuple(findings), metrics)


def _run(name: str, run: Callable[[Judged], CheckResult], judged: Judged) -> CheckResult:
    try:
        return run(judged)
    except Exception as error:  # a failing check must not cost a posterior
        _LOG.debug("check %s failed", name, exc_info=True)
        message = f"This check failed: {type(error).__name__}: {error}"
        return CheckResult((Finding(name, "warn", message, remedy="See the traceback in run.log."),))


def verdict(findings: Iterable[Finding]) -> Severity:
    """Return the worst severity of all findings: the run's verdict."""
    return max((f.severity for f in findings), key=SEVERITIES.index, default="ok")


class Grade(NamedTuple):
    """A severity, and the threshold that the value was compared with."""

    severity: Severity
    threshold: float


def grade_above(value: float, limits: tuple[float, float]) -> Grade:
    """Grade a value that should be at or below the limits `(warn, fail)`; NaN fails."""
    warn, bad = limits
    return Grade("fail", bad) if not value <= bad else Grade("warn" if value > warn else "ok", warn)


def grade_below(value: float, limits: tuple[float, float]) -> Grade:
    """Grade a value that should be at or above the limits `(warn, fail)`; NaN fails."""
    warn, bad = limits
    return Grade("fail", bad) if not value >= bad else Grade("warn" if value < warn else "ok", warn)


def graded(
    check: str, grade: Grade, value: float, message: str, advice: Sequence[str] = (), variable: str | None = None
) -> Finding:
    """Make the finding of a graded value; the advice becomes its remedy unless it is `ok`."""
    remedy = "" if grade.severity == "ok" else " ".join(advice)
    return Finding(check, grade.severity, message, variable, value, grade.threshold, remedy)


def interval_columns(prob: float, of: str = "hdi") -> tuple[str, str]:
    """Return the column names of the interval ends as in ArviZ: `hdi_3%` and `hdi_97%` for 0.94."""
    tail = 100 * (1 - prob) / 2
    return f"{of}_{tail:g}%", f"{of}_{100 - tail:g}%"


def find_interval_columns(columns: Iterable[str], of: str = "hdi") -> tuple[str, str]:
    """Find these columns among those of a table (`summary.csv`, `predictions.csv`)."""
    lower, upper = (name for name in columns if name.startswith(f"{of}_"))
    return lower, upper


def interval_probability(columns: Iterable[str], of: str = "hdi") -> float | None:
    """Return the probability given by the names of these columns; None if they contain none (`hdi_lower`)."""
    lower, upper = (name.removeprefix(f"{of}_").removesuffix("%") for name in find_interval_columns(columns, of))
    try:
        return round((float(upper) - float(lower)) / 100, 12)
    except ValueError:
        return None


def listed(names: Sequence[str], limit: int = 5) -> str:
    """Join names for a sentence, at most `limit` of them: `a, b, c and 12 more`."""
    head = ", ".join(names[:limit])
    return head if len(names) <= limit else f"{head} and {len(names) - limit} more"


def shorten(text: str, width: int = 28) -> str:
    """Shorten a long label in the middle: the beginning says what it is, the end which one."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[-(width - 1 - head) :]}"


def shorten_all(texts: Sequence[str], width: int = 28) -> list[str]:
    """Shorten labels, and keep what tells them apart: names of one kind often differ only in the middle."""
    short = [shorten(text, width) for text in texts]
    found = list(short)
    for cut in {text for text in short if short.count(text) > 1}:
        places = [place for place, text in enumerate(short) if text == cut]
        same = takewhile(lambda signs: len(set(signs)) == 1, zip(*(texts[place] for place in places), strict=False))
        start = max(0, len(list(same)) - width // 3)
        for place in places:
            rest = f"…{texts[place][start:]}" if start else texts[place]
            found[place] = rest if len(rest) <= width else f"{rest[: width - 1]}…"
    return found
