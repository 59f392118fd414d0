"""A new `dist` drops the old parameters, a new `method` the old keys; what the user wrote is kept and judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from bayesrun.errors import UserError
from tests.composing import composed, parsed, plain

LAM = "model.priors.early_rate"


def prior(*overrides: str, name: str = "early_rate") -> dict:
    return plain(composed("model=switchpoint", *overrides), f"model.priors.{name}")


def test_without_overrides_nothing_is_dropped() -> None:
    assert prior() == {"dist": "Exponential", "lam": 1}
    assert prior(f"{LAM}.lam=3") == {"dist": "Exponential", "lam": 3}


def test_a_new_dist_drops_the_old_parameters() -> None:
    found = prior(f"{LAM}.dist=Gamma", f"{LAM}.alpha=2", f"{LAM}.beta=1")
    assert found == {"dist": "Gamma", "alpha": 2, "beta": 1}


def test_a_whole_prior_replaces_the_old_one() -> None:
    assert prior(f"{LAM}={{dist: Uniform, lower: 0, upper: 9}}") == {"dist": "Uniform", "lower": 0, "upper": 9}


def test_a_new_dist_drops_shared_parameters_too_unless_they_are_given() -> None:
    """Normal(0, 10)'s `mu` means nothing for a Laplace that the user asked for."""
    given = ("model=linear_regression", "model.priors.alpha.dist=Laplace", "model.priors.alpha.b=1")
    assert plain(composed(*given), "model.priors.alpha") == {"dist": "Laplace", "b": 1}
    found = plain(composed(*given, "model.priors.alpha.mu=0"), "model.priors.alpha")
    assert found == {"dist": "Laplace", "b": 1, "mu": 0}


def test_keys_that_every_prior_has_are_composed() -> None:
    found = plain(composed("model=stochastic_volatility", "model.priors.nu.dist=Gamma"), "model.priors.nu")
    assert found == {"dist": "Gamma", "initval": 5}


TAU = "model.priors.tau"


def test_a_new_dist_drops_the_transform_of_the_old_support() -> None:
    assert plain(composed("model=eight_schools", f"{TAU}.beta=1"), TAU)["transform"] == "softplus"
    given = ("model=eight_schools", f"{TAU}={{dist: Uniform, lower: 0, upper: 9}}")
    assert plain(composed(*given), TAU) == {"dist": "Uniform", "lower": 0, "upper": 9}
    for overrides in (
        [f"{TAU}.transform=log", f"{TAU}.dist=Gamma", f"{TAU}.alpha=2", f"{TAU}.beta=1"],
        [f"{TAU}={{dist: Gamma, alpha: 2, beta: 1, transform: log}}"],
    ):
        found = plain(composed("model=eight_schools", *overrides), TAU)
        assert found == {"dist": "Gamma", "alpha": 2, "beta": 1, "transform": "log"}


def test_a_new_dist_keeps_the_order_of_a_mixtures_components() -> None:
    mixture = ("model=gaussian_mixture", "model.priors.mu.dist=StudentT", "+model.priors.mu.nu=4")
    assert plain(composed(*mixture), "model.priors.mu")["transform"] == "ordered"


def test_a_parameter_that_the_user_wrote_is_kept_and_told() -> None:
    with pytest.raises(UserError, match=rf"{LAM}.lam"):
        parsed("model=switchpoint", f"{LAM}.dist=Gamma", f"{LAM}.alpha=2", f"{LAM}.beta=1", f"{LAM}.lam=3")


def test_the_same_dist_again_drops_nothing() -> None:
    assert prior(f"{LAM}.dist=Exponential") == {"dist": "Exponential", "lam": 1}


def test_other_priors_are_left_alone() -> None:
    assert prior(f"{LAM}.dist=HalfNormal", f"{LAM}.sigma=1", name="late_rate") == {"dist": "Exponential", "lam": 1}


EXPERIMENT = """
# @package _global_
defaults:
  - override /model: switchpoint
  - _self_
model:
  priors:
    early_rate: {dist: Gamma, alpha: 2, beta: 1}
"""


def test_an_experiment_replaces_a_distribution_as_well(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/other_prior.yaml").write_text(EXPERIMENT)
    config = composed(f"--config-dir={tmp_path}", "experiment=other_prior")
    assert plain(config, LAM) == {"dist": "Gamma", "alpha": 2, "beta": 1}


def test_a_new_method_drops_the_old_methods_keys() -> None:
    config = parsed("sampler.method=smc")
    assert config.sampler == parsed("sampler=smc").sampler


def test_what_the_user_set_of_a_sampler_is_composed() -> None:
    assert parsed("sampler.method=prior", "sampler.draws=50").sampler.draws == 50
    with pytest.raises(UserError, match=r"sampler\.target_accept: unknown key"):
        parsed("sampler.method=advi", "sampler.target_accept=0.9")


def test_a_run_folders_config_takes_a_new_method_and_a_new_dist(tmp_path: Path) -> None:
    import yaml

    content = dict(parsed("model=switchpoint").plain)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**content, "hydra": {}}))
    again = [f"--config-dir={tmp_path}", "--config-name=config"]
    config = parsed(*again, "sampler.method=smc", f"{LAM}.dist=HalfNormal", f"{LAM}.sigma=3")
    assert config.sampler.method == "smc"
    assert config.model.priors["early_rate"] == {"dist": "HalfNormal", "sigma": 3}
