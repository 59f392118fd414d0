"""The parsed config: defaults filled in, everything resolved, every error reported at once and only once."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bayesrun.config.defaults import fill_in
from bayesrun.config.resolvers import conf
from bayesrun.config.run_config import RunConfig, parse_config
from bayesrun.errors import UserError, check
from tests.composing import composed, filled, parsed

MODELS = ("linear_regression", "switchpoint", "eight_schools", "glm_linear", "arbitrary_deterministic")


@pytest.fixture(scope="module")
def shipped() -> dict[str, dict[str, Any]]:
    """The composed config of several models, as plain values."""
    return {
        name: OmegaConf.to_container(composed(f"model={name}", "model.figures=[]"), resolve=False) for name in MODELS
    }  # type: ignore[misc]


def faults(*overrides: str) -> dict[str, str]:
    with pytest.raises(UserError) as caught:
        parsed(*overrides)
    return {p.key: f"{p.message} | {p.hint}" for p in caught.value.problems}


def test_all_faults_of_all_sections_at_once() -> None:
    found = faults(
        "model=switchpoint", "model.priors.early_rate.lam=-1", "model.options.form=other", "sampler.draws=0",
        "seed=-1", "diagnostics.checks=[rhat]", "model.figures=[trase]", "predictive.prior=many",
        "store.compression=10", "data.drop_missing=all", "tracking.backend=mlfow",
    )  # fmt: skip
    assert set(found) >= {
        "model.priors.early_rate.lam", "model.options.form", "sampler.draws", "seed", "diagnostics.checks[0]",
        "model.figures[0]", "predictive.prior", "store.compression",
    }  # fmt: skip
    assert any(key.startswith("data.drop_missing") for key in found)
    assert "did you mean 'r_hat'" in found["diagnostics.checks[0]"]


def test_a_wrong_prior_or_key_hides_no_other_fault_of_the_model() -> None:
    found = faults(
        "model=eight_schools", "model.priors.mu.sigma=-1", "model.likelihod={}", "model.likelihood.y.observed=null",
        "model.deterministics.shrinkage.expr='1 +'",
    )  # fmt: skip
    assert set(found) == {
        "model.priors.mu.sigma", "model.likelihod", "model.likelihood.y.observed", "model.deterministics.shrinkage",
    }  # fmt: skip


def test_a_mistyped_observed_is_told_by_its_name() -> None:
    found = faults("model=eight_schools", "model.likelihood.y={dist: Normal, sigma: 1, obsrved: effect}")
    assert "did you mean 'observed'" in found["model.likelihood.y.obsrved"]


def test_a_missing_prior_and_a_wrong_function_are_told_together() -> None:
    found = faults("model=arbitrary_deterministic", "~model.priors.a", "model.options.likelihood={dist: Nomal}")
    assert set(found) == {"model.priors.a", "model.options.likelihood.dist"}


def test_the_resolved_config_holds_every_key_and_no_interpolation() -> None:
    config = parsed("model=switchpoint")
    assert config.plain["experiment_name"] == "switchpoint"
    assert "${" not in str(dict(config.plain))
    assert set(config.plain["sampler"]) == set(type(config.sampler).model_fields)


def test_the_resolved_config_parses_to_itself() -> None:
    for name in MODELS:
        config = parsed(f"model={name}", "model.figures=[]")
        again = parse_config(OmegaConf.create(dict(config.plain)))
        assert again.plain == config.plain


def test_defaults_may_be_named_by_interpolations_even_if_not_written() -> None:
    raw = {"model": {"name": "m", "type": "linear_regression", "priors": PRIORS}, **REST}
    config = filled({**raw, "name": "draws_${sampler.draws}"})
    assert config.top.name == "draws_1000"
    assert config.top.experiment_name == "m"


NORMAL = {"dist": "Normal", "mu": 0, "sigma": 1}
PRIORS = {"alpha": NORMAL, "beta": NORMAL, "sigma": {"dist": "HalfNormal", "sigma": 1}}
DATA = {"name": "d", "source": "inline", "values": {"Y": [1, 2], "X1": [1, 2], "X2": [2, 1]}}
PATHS = {"root": "/tmp", "data": "/tmp", "outputs": "/tmp/out"}
REST = {"data": DATA, "paths": PATHS, "tracking": {"backend": "none"}}


def minimal(**changes: Any) -> RunConfig:
    raw = {"model": {"name": "m", "type": "linear_regression", "priors": PRIORS}, **REST}
    return filled({**raw, **changes})


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"model": None}, "model.type"),
        ({"model": 3}, "model.type"),
        ({"model": {}}, "model.type"),
        ({"model": {"name": "m", "type": "nothing"}}, "model.type"),
        ({"model": {"type": "linear_regression", "priors": PRIORS}}, "model.name"),
        ({"model": {"name": "m", "type": "linear_regression", "priors": {}}}, "model.priors.alpha"),
        ({"model": {"name": "m", "type": "linear_regression", "priors": [1]}}, "model.priors"),
        ({"model": {"name": "m", "type": "linear_regression", "priors": {**PRIORS, "a": 1}}}, "model.priors.a"),
        ({"data": [1]}, "data"),
        ({"data": {"name": "d", "source": "cvs"}}, "data.source"),
        ({"sampler": {"method": "nust"}}, "sampler.method"),
        ({"sampler": 3}, "sampler"),
        ({"diagnostics": "x"}, "diagnostics"),
        ({"plugins": ["none"]}, "plugins[0]"),
        ({"plugins": 3}, "plugins"),
        ({"tags": [1]}, "tags"),
        ({"smapler": {}}, "smapler"),
        ({"paths": None}, "paths.root"),
        ({"seed": "x"}, "seed"),
        ({"seed": 2**32}, "seed"),
    ],
)
def test_a_fault_bears_its_key(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError) as caught:
        minimal(**changes)
    assert key in [p.key for p in caught.value.problems], caught.value.problems


def test_a_tag_that_is_no_single_value_is_one_problem() -> None:
    with pytest.raises(UserError) as caught:
        minimal(tags={"who": {"first": "me"}})
    (problem,) = caught.value.problems
    assert problem.message.startswith("tag 'who' must be a text, a number, true or false")


def test_data_may_be_absent() -> None:
    assert minimal(data=None).data is None


def test_one_wrong_section_does_not_hide_another() -> None:
    with pytest.raises(UserError) as caught:
        minimal(sampler={"method": "smc", "target_accept": 0.9}, model={"name": "m"}, seed=-1)
    assert {"sampler.target_accept", "model.type", "seed"} <= {p.key for p in caught.value.problems}


# any values at all

PHASES = [Phase.explicit, Phase.generate]  # no shrinking: it takes minutes

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(
        ["${model.name}", "${no.such}", "${", "???", "Normal", "nuts", "linear_regression", "inline", "x + 1", "[1"]
    )
)  # fmt: skip
KEYS = st.one_of(st.text(min_size=1, max_size=6), st.sampled_from(["dist", "mu", "type", "name", "priors", "draws"]))
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=3), max_leaves=8)


def parses_or_tells(raw: dict[str, Any]) -> None:
    """Parse; nothing but a `UserError` with problems that can be shown may be raised."""
    try:
        config = OmegaConf.create(raw)
        assert isinstance(config, DictConfig)
    except OmegaConfBaseException:
        return  # Hydra never hands over what OmegaConf itself can't hold
    try:
        check(fill_in(config, conf()))
        parse_config(config)
    except UserError as error:
        assert error.problems
        assert all(p.message for p in error.problems)
        assert str(error)


def _paths_of(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the places inside nested values."""
    if isinstance(node, dict):
        return [path, *(p for key, value in node.items() for p in _paths_of(value, (*path, key)))]
    if isinstance(node, list):
        return [path, *(p for index, value in enumerate(node) for p in _paths_of(value, (*path, index)))]
    return [path]


@given(data=st.data(), name=st.sampled_from(MODELS))
@settings(max_examples=60, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_at_any_place_parses_or_is_told(data: Any, name: str, shipped: dict[str, dict[str, Any]]) -> None:
    raw = copy.deepcopy(shipped[name])
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([p for p in _paths_of(raw) if p]))
        node: Any = raw
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = data.draw(VALUES)
    parses_or_tells(raw)


@pytest.mark.parametrize("wrong", [[], {"a": 1}, 3.5, True])
def test_a_prior_whose_dist_is_no_name_is_told(wrong: Any, shipped: dict[str, dict[str, Any]]) -> None:
    for name in ("glm_linear", "linear_regression"):
        raw = copy.deepcopy(shipped[name])
        raw["model"]["priors"][next(iter(raw["model"]["priors"]))]["dist"] = wrong
        with pytest.raises(UserError) as caught:
            parse_config(OmegaConf.create(raw))
        assert any("dist" in (problem.key or "") for problem in caught.value.problems)


@given(
    raw=st.dictionaries(st.sampled_from(["model", "data", "sampler", "paths", "seed", "plugins", "tags", "x"]), VALUES)
)
@settings(max_examples=60, deadline=None, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
def test_any_config_parses_or_is_told(raw: dict[str, Any]) -> None:
    parses_or_tells(raw)
