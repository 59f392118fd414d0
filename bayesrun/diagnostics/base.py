"""What a check, a finding and a verdict are, and the config section `diagnostics` (design part 6).

A check takes a saved `InferenceData` and thresholds, never PyMC3 or a model: it can be run again on any posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from bayesrun.registry import Registry
from bayesrun.schema import Section

if TYPE_CHECKING:
    import arviz as az
    import pandas as pd

Severity = Literal["ok", "warn", "fail"]
GOOD_K = 0.7
"""Pareto k up to which importance sampling is to be trusted (doi:10.48550/arXiv.1507.02646)."""
ROUNDING = 1e-14
"""Relative sd up to which draws are all the same number."""
SEVERITIES: tuple[Severity, ...] = ("ok", "warn", "fail")


class Thresholds(Section):
    """Limits of the checks, each `[warn, fail]`. Shares are of all draws or points."""

    r_hat: tuple[float, float] = (1.01, 1.05)
    ess: tuple[float, float] = (400.0, 100.0)
    divergences: tuple[float, float] = (0.0, 0.01)
    bfmi: tuple[float, float] = (0.3, 0.2)
    tree_depth: tuple[float, float] = (0.01, 0.10)
    pareto_k: tuple[float, float] = (0.0, 0.05)
    elbo: tuple[float, float] = (0.1, 1.0)
    approximation: tuple[float, float] = (0.7, 1.0)
    particles: tuple[float, float] = (0.5, 0.1)


class DiagnosticsSpec(Section):
    """Keys of `diagnostics`.

    Parameters
    ----------
    checks
        Names of the checks to run; null runs all that apply.
    thresholds
        Their limits.
    log_likelihood
        Keep pointwise terms of the likelihood: `auto` up to `log_likelihood_max` numbers, true, or false.
    fail_run
        Whether a verdict `fail` becomes the exit status.
    """

    checks: list[str] | None = None
    thresholds: Thresholds = Thresholds()
    log_likelihood: Literal["auto"] | bool = "auto"
    log_likelihood_max: int = 50_000_000
    prior_sensitivity: bool = False
    fail_run: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing that a check found (a row of `findings.json`).

    Parameters
    ----------
    check
        Name of the check.
    severity
        `ok`, `warn` or `fail`.
    variable
        Scalar or point at fault (`theta[A]`); null for the run as a whole.
    value, threshold
        What was measured and the limit it was held against; null where there is none.
    message
        What it means, in words.
    remedy
        What to do about it; empty when `ok`.
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
    """What checks look at.

    Parameters
    ----------
    idata
        The posterior with its groups.
    summary
        One row a scalar (`summary.csv`), so that no check computes R-hat or ESS again.
    method
        The sampler that made the draws (`nuts`, `smc`, `advi`, `prior`).
    settings
        The config section.
    max_treedepth
        Tree depth limit of the run.
    missing_groups
        Groups that could not be had, with the reason.
    """

    idata: az.InferenceData
    summary: pd.DataFrame
    method: str
    settings: DiagnosticsSpec
    max_treedepth: int = 10
    missing_groups: Mapping[str, str] = field(default_factory=dict)

    @property
    def moving(self) -> pd.Series[bool]:
        """Whether each scalar's draws differ by more than rounding, as a computed 1 does not."""
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
        Samplers whose draws it says something about.
    """

    run: Callable[[Judged], CheckResult]
    methods: tuple[str, ...] = ("nuts", "smc")


CHECKS: Registry[Check] = Registry("check", "bayesrun.diagnostics", "CHECK", Check)


def verdict(findings: Iterable[Finding]) -> Severity:
    """Return the worst severity of all findings: the run's verdict."""
    return max((f.severity for f in findings), key=SEVERITIES.index, default="ok")


def severity_above(value: float, limits: tuple[float, float]) -> Severity:
    """Judge a value that should stay at or below `(warn, fail)`; what is not a number fails."""
    warn, bad = limits
    return "fail" if not value <= bad else "warn" if value > warn else "ok"


def severity_below(value: float, limits: tuple[float, float]) -> Severity:
    """Judge a value that should stay at or above `(warn, fail)`; what is not a number fails."""
    warn, bad = limits
    return "fail" if not value >= bad else "warn" if value < warn else "ok"
