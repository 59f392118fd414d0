"""Models whose potentials take the place of a likelihood, or of a part of it."""

from __future__ import annotations

from bayesrun.diagnostics.base import Check, CheckResult, Finding, Judged, listed

_REMEDY = (
    "Write the terms as distributions in model.likelihood where there is one; otherwise compare this model by "
    "other means than LOO, and check its fit from the posterior."
)


def run(judged: Judged) -> CheckResult:
    """Say what potentials leave out of LOO, WAIC and the posterior predictive: they have no pointwise terms."""
    names = list(judged.model.get("potentials") or {})
    if not names or "constant_data" not in judged.idata.groups():  # without data they are constraints of the prior
        return CheckResult()
    if "observed_data" in judged.idata.groups() and judged.idata.observed_data.data_vars:
        message = f"LOO, WAIC and the posterior predictive do not include potentials: {listed(names)}."
        return CheckResult((Finding("potentials", "ok", message),))
    message = f"The model explains its data by potentials alone ({listed(names)})."
    message += " So there is no LOO, no WAIC and no posterior predictive, and nothing here checks how well it fits."
    return CheckResult((Finding("potentials", "warn", message, names[0], remedy=_REMEDY),))


CHECK = Check(run, ("nuts", "smc", "advi"))
