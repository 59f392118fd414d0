"""Every remedy is true for the model at hand: its overrides are taken, and change what they name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from bayesrun.config.run_config import RunConfig
from bayesrun.diagnostics.base import DiagnosticsSpec, Finding, Judged, judge
from tests.composing import parsed
from tests.unit.diagnostics.conftest import judged, normal

OVERRIDE = re.compile(r"`([^`]+=[^`]+)`")
SHAPE = (4, 200)
CENTRED, NONCENTRED = "+model.priors.theta.parameterization=noncentered", "model.priors.theta.parameterization=centered"


def _bad(method: str) -> Judged:
    """Draws with every fault that a check of the method can find."""
    x = normal(4, 200)
    x[0] += 3
    stats = {
        "diverging": np.ones(SHAPE, bool),
        "energy": np.cumsum(normal(4, 200), axis=1),
        "tree_depth": np.full(SHAPE, 10),
        "lp": np.abs(normal(4, 200)) ** 4,
        "log_q": np.zeros(SHAPE),
    }
    terms = np.where(np.arange(200) < 2, -60.0, 0.0)[None, :, None] + normal(4, 200, shape=(5,)) * 0.1
    case = judged({"x": x, "fixed": np.zeros(SHAPE)}, method, sample_stats=stats, log_likelihood={"y": terms})
    case.idata.sample_stats["moved"] = ("chain", np.full(4, 0.01))
    case.idata.sample_stats["log_marginal_likelihood"] = ("chain", np.zeros(4))
    case.idata.sample_stats["elbo"] = ("iteration", np.linspace(0, 100, 400))
    return replace(case, settings=DiagnosticsSpec(prior_sensitivity=True))


def _findings(config: RunConfig, case: Judged) -> tuple[Finding, ...]:
    return judge(replace(case, model=config.plain["model"], sampler=config.plain["sampler"])).findings


def _text(config: RunConfig, check: str) -> str:
    found = _findings(config, _bad(config.sampler.method))
    return " ".join(finding.remedy for finding in found if finding.check == check)


COMMANDS = [
    ("model=eight_schools",),
    ("model=eight_schools", "model.priors.theta.parameterization=centered"),
    ("model=eight_schools", "sampler.target_accept=0.95", "sampler.init=adapt_full"),
    ("model=varying_intercepts",),
    ("model=robust_regression",),
    ("model=stochastic_volatility", "model.options.form=centered"),
    ("model=stochastic_volatility",),
    ("model=switchpoint", "model.options.form=compound", "+sampler.step.switchpoint=Metropolis"),
    ("model=glm", "model.options.form=direct"),
    ("model=glm", "model.family=poisson"),
    ("model=zero_inflated_counts",),
    ("model=ar",),
    ("model=linear_regression", "sampler=smc"),
    ("model=linear_regression", "sampler=advi"),
    ("model=linear_regression", "sampler=advi", "sampler.approximation=full_rank"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_overrides_of_every_remedy_can_be_applied_and_change_the_run(command: tuple[str, ...]) -> None:
    config = parsed(*command)
    remedies = [f.remedy for f in _findings(config, _bad(config.sampler.method)) if f.severity != "ok"]
    assert remedies and all(remedies)
    overrides = {override for remedy in remedies for override in OVERRIDE.findall(remedy)}
    assert overrides
    for override in overrides:
        # a group is chosen anew without the keys of the one before
        base = [c for c in command if not (override.startswith("sampler=") and c.startswith("sampler"))]
        assert parsed(*base, override).plain != config.plain, override


def _schools(*more: str) -> RunConfig:
    return parsed("model=eight_schools", *more)


def test_divergence_advice_looks_at_the_parameterization() -> None:
    assert NONCENTRED in _text(_schools(), "divergences")
    centred = _text(_schools("~model.priors.theta.parameterization"), "divergences")
    assert CENTRED in centred and "is non-centred" not in centred
    assert "parameterization" not in _text(parsed("model=linear_regression"), "divergences")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # chains may have taken the steps of 0.95 already
        ([], "sampler.target_accept=0.99"),
        (["sampler.init=adapt_diag"], "sampler.target_accept=0.95"),
        (["sampler.target_accept=0.95"], "sampler.target_accept=0.99"),
        (["sampler.target_accept=0.99"], None),
    ],
)
def test_divergence_advice_looks_at_the_step_size(settings: list[str], expected: str | None) -> None:
    text = _text(_schools(*settings), "divergences")
    assert expected in text if expected else "target_accept" not in text


@pytest.mark.parametrize(
    ("command", "advised"),
    [
        (["model=stochastic_volatility"], None),
        (["model=stochastic_volatility", "model.options.form=centered"], "model.options.form=whitened"),
        (["model=switchpoint", "model.options.form=compound"], "model.options.form=marginal"),
        (["model=linear_regression"], None),
    ],
)
def test_another_form_is_advised_only_where_there_is_one(command: list[str], advised: str | None) -> None:
    text = _text(parsed(*command), "r_hat")
    assert advised in text if advised else "form" not in text


def test_the_advised_number_of_draws_reaches_the_threshold() -> None:
    sticky = np.repeat(normal(4, 50), 20, axis=1)
    case = replace(judged({"x": sticky}), sampler={"draws": 1000})
    (bulk, _) = (f for f in judge(case).findings if f.check == "ess")
    (draws,) = re.findall(r"sampler.draws=(\d+)", bulk.remedy)
    assert bulk.value is not None and 400 <= bulk.value * int(draws) / 1000 < 600


def test_a_likelihood_with_heavier_tails_is_one_that_there_is() -> None:
    assert "StudentT, not Normal" in _text(_schools(), "loo")
    assert "heavier" not in _text(parsed("model=robust_regression"), "loo")
    assert "model.family=student" in _text(parsed("model=glm"), "loo")


def test_every_model_of_the_conf_tree_is_advised_without_an_error() -> None:
    for path in sorted((Path(__file__).parents[3] / "conf" / "model").glob("*.yaml")):
        plain = yaml.safe_load(path.read_text())
        for finding in judge(replace(_bad("nuts"), model=plain)).findings:
            assert "failed" not in finding.message, finding
