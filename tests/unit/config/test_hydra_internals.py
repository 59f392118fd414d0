"""What bayesrun takes of Hydra's internals: it is there in the installed version, and composes as Hydra itself does."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from packaging.specifiers import SpecifierSet

from bayesrun.config import hydra_internals
from bayesrun.config.compose import Composition, compose
from bayesrun.config.hydra_internals import INTERNALS, Internal, command_line
from bayesrun.config.resolvers import conf, register_resolvers
from bayesrun.errors import UserError

PLACED = ["hydra.sweep.dir='/tmp/sweep'", "hydra.sweep.subdir='3'"]


@pytest.mark.parametrize("internal", INTERNALS, ids=lambda internal: internal.name)
def test_each_internal_is_there_and_fits_the_installed_hydra(internal: Internal) -> None:
    assert hasattr(hydra_internals, internal.name)
    assert SpecifierSet(internal.versions).contains(version(internal.package))


def _composition(*words: str) -> Composition:
    register_resolvers()
    return compose(command_line().parse_intermixed_args(list(words)), conf())


@pytest.fixture(scope="module")
def sweep() -> Composition:
    return _composition("-m", "model=switchpoint")


def _parts(config: DictConfig) -> tuple[Any, Any]:
    raw = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(raw, dict)
    node = raw.pop("hydra")
    for settled in ("launcher", "sweeper"):  # the gate resolves their options
        node.pop(settled)
    return raw, node


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=switchpoint", "model.priors.early_rate.lam=0.5"],
        ["model=switchpoint", "model.priors.early_rate.lam=2"],  # a second point from the same choices
        ["model=switchpoint", "model.priors.early_rate.lam=2", "seed=3", "+tags.by=me"],
        ["model=linear_regression", "sampler=smc", "sampler.draws=20"],
        ["model=linear_regression", "sampler.draws=20", "sampler=smc"],
        ["model=linear_regression", "tracking=none", "name='a, b=c'"],
        ["experiment=switchpoint_prior_sweep", "seed=4"],
        ["model=switchpoint", "launcher=parallel", "seed=2"],
        [],
    ],
)
def test_it_composes_what_hydra_composes(sweep: Composition, overrides: list[str]) -> None:
    hydra = ConfigLoaderImpl(sweep.loader.get_search_path())
    wanted = _parts(hydra.load_configuration("main", [*overrides, *PLACED], RunMode.RUN))
    for _ in range(2):
        assert _parts(sweep.loader.load_sweep_config(sweep.config, [*overrides, *PLACED])) == wanted


@pytest.mark.parametrize("wrong", ["seed=1,2", "seed={a", "modle.a=1", "launcher=nowhere", "hydra.job.chdir=true"])
def test_a_job_that_is_wrong_is_told(sweep: Composition, wrong: str) -> None:
    with pytest.raises(UserError):
        from bayesrun.config.run_config import parse_config

        parse_config(sweep.loader.load_sweep_config(sweep.config, ["model=switchpoint", wrong]))


def test_a_job_does_not_see_the_values_of_the_one_before(sweep: Composition) -> None:
    loader, config = sweep.loader, sweep.config
    first = loader.load_sweep_config(config, ["model=switchpoint", "model.priors.early_rate.lam=7", "+tags.x=1"])
    second = loader.load_sweep_config(config, ["model=switchpoint", "seed=2"])
    assert first.model.priors.early_rate.lam == 7
    assert second.model.priors.early_rate.lam == 1
    assert "x" not in (second.tags or {})


def test_the_loader_survives_pickling(sweep: Composition) -> None:
    import pickle

    again = pickle.loads(pickle.dumps(sweep.loader))
    config = again.load_sweep_config(sweep.config, ["model=switchpoint", "seed=2"])
    assert config.seed == 2
