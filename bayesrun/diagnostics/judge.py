"""All checks on one posterior."""

from __future__ import annotations

import logging
from collections.abc import Callable

from bayesrun.diagnostics.base import CHECKS, SEVERITIES, CheckResult, Finding, Judged

log = logging.getLogger("bayesrun.diagnostics")


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
    except Exception as error:  # a broken check must not lose a posterior
        log.debug("check %s failed", name, exc_info=True)
        message = f"This check failed: {type(error).__name__}: {error}"
        return CheckResult((Finding(name, "warn", message, remedy="See the traceback in run.log."),))
