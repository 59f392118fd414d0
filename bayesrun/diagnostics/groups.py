"""Groups of `posterior.nc` that are absent, and why."""

from __future__ import annotations

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged


def run(judged: Judged) -> CheckResult:
    """Name each absent group with its reason; the posterior is none the worse for it."""
    found = [Finding("groups", "ok", f"No {name}: {why}.", name) for name, why in judged.missing_groups.items()]
    return CheckResult(tuple(found))


CHECK = Check(run, ("nuts", "smc", "advi", "prior"))
