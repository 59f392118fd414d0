"""A second set of data beside a series: each set has the density that it has alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayesrun.errors import UserError
from bayesrun.pipeline import compiled, load_data
from bayesrun.tasks.second_series import follows_itself, second_series, without_states
from tests.composing import parsed


@pytest.mark.parametrize("model", ["local_level", "garch_mean", "hmm", "arma"])
def test_each_set_has_the_density_that_it_has_alone(model: str) -> None:
    config = parsed(f"model={model}")
    data = load_data(config)[0]
    assert data is not None
    declared = config.model_type.build(data, config.model)
    assert follows_itself(declared)
    one = compiled(config, declared)
    (name,) = one.likelihoods
    series = str(config.plain["model"]["likelihood"][name]["observed"])
    rng = np.random.default_rng(3)
    values = data[series].values + rng.normal(0, 0.3, data[series].shape)
    drawn = one.draw_prior(6, 4)
    draws = {n: v[None] for n, v in drawn.items() if n != name}
    both = compiled(config, second_series(config, data)({name: values}))
    alone = compiled(
        config, config.model_type.build(data.assign({series: data[series].copy(data=values)}), config.model)
    )
    found = both.log_likelihood([name, f"{name}_again"], draws)
    np.testing.assert_allclose(found[name], one.log_likelihood([name], draws)[name], rtol=1e-10)
    np.testing.assert_allclose(found[f"{name}_again"], alone.log_likelihood([name], draws)[name], rtol=1e-10)
    assert not np.allclose(found[name], found[f"{name}_again"])
    # a new series has hidden states of its own: nothing of the run's is left to simulate it about
    left = without_states(declared, {n: v for n, v in drawn.items() if n != name})
    assert not [n for n in left if n.startswith((f"{name}_state", f"{name}_level", f"{name}_path"))]
    assert set(left) >= set(config.plain["model"]["priors"])


def test_what_only_a_model_in_yaml_can_do_is_refused_for_others() -> None:
    config = parsed("model=linear_regression")
    with pytest.raises(UserError, match="only a model in YAML"):
        second_series(config, load_data(config)[0])


def test_a_prior_that_depends_on_the_series_is_refused() -> None:
    config = parsed("model=local_level")
    model = config.plain["model"]
    priors = {**model["priors"], "sigma": {"dist": "HalfNormal", "sigma": "std(flow)"}}
    changed = replace(config, plain={**config.plain, "model": {**model, "priors": priors}})
    with pytest.raises(UserError, match=r"model\.priors\.sigma: depends on the series"):
        second_series(changed, load_data(config)[0])
