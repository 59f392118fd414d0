"""Patches: the versions they were tested with, and that the quick loader returns what Hydra's own does."""

from __future__ import annotations

from argparse import Namespace
from importlib import import_module
from importlib.metadata import version
from typing import Any

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf
from packaging.specifiers import SpecifierSet

from bayesrun.config.compose import compose, start_hydra
from bayesrun.config.resolvers import conf, register_resolvers
from bayesrun.sweep import patches
from bayesrun.sweep.launch import TRAITS
from bayesrun.sweep.patches import PATCHES, Patch, SweepLoader

ARGUMENTS = Namespace(config_name=None, config_dir=None)
PLACED = ["hydra.sweep.dir='/tmp/sweep'", "hydra.sweep.subdir='3'"]


@pytest.fixture(scope="module")
def hydra() -> tuple[Any, Any, Any]:
    register_resolvers()
    config, _, _ = compose(ARGUMENTS, conf(), ["model=switchpoint"], True)
    loader = start_hydra(ARGUMENTS, conf()).config_loader
    return config, loader, SweepLoader(loader.get_search_path())


@pytest.mark.parametrize(
    "overrides",
    [
        ["model=switchpoint", "model.priors.early_rate.lam=0.5"],
        ["model=switchpoint", "model.priors.early_rate.lam=2"],  # a second point from the same choices
        ["model=switchpoint", "++model.priors.early_rate={dist: Gamma, alpha: 2, beta: 1}"],
        ["model=switchpoint", "model.priors.early_rate.lam=2", "seed=3", "+tags.by=me"],
        ["model=linear_regression", "sampler=smc", "sampler.draws=20"],
        ["model=linear_regression", "sampler.draws=20", "sampler=smc"],
        ["model=linear_regression", "tracking=none", "name='a, b=c'"],
        ["model=linear_regression", "~model.figures", "seed=1"],
        ["experiment=switchpoint_prior_sweep", "seed=4"],
        ["model=switchpoint", "hydra.job.name=other", "seed=2"],
        ["model=switchpoint", "launcher=parallel", "seed=2"],
        [],
    ],
)
def test_it_composes_what_hydra_composes(hydra: tuple[Any, Any, Any], overrides: list[str]) -> None:
    config, plain, quick = hydra
    for _ in range(2):
        wanted = plain.load_sweep_config(config, [*overrides, *PLACED])
        assert OmegaConf.to_yaml(quick.load_sweep_config(config, [*overrides, *PLACED])) == OmegaConf.to_yaml(wanted)


@pytest.mark.parametrize("wrong", ["model.nothing=1", "modle=switchpoint", "seed=1,2", "seed={a"])
def test_it_fails_as_hydra_does(hydra: tuple[Any, Any, Any], wrong: str) -> None:
    config, plain, quick = hydra
    with pytest.raises(Exception) as own:
        plain.load_sweep_config(config, ["model=switchpoint", wrong])
    with pytest.raises(type(own.value)) as found:
        quick.load_sweep_config(config, ["model=switchpoint", wrong])
    assert str(found.value) == str(own.value)
    assert isinstance(own.value, HydraException)


def test_a_job_does_not_see_the_values_of_the_one_before(hydra: tuple[Any, Any, Any]) -> None:
    config, _, quick = hydra
    first = quick.load_sweep_config(config, ["model=switchpoint", "model.priors.early_rate.lam=7", "+tags.x=1"])
    second = quick.load_sweep_config(config, ["model=switchpoint", "seed=2"])
    assert first.model.priors.early_rate.lam == 7
    assert second.model.priors.early_rate.lam == 1
    assert "x" not in (second.tags or {})


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_each_patch_is_here_and_fits_the_installed_library(patch: Patch) -> None:
    assert hasattr(patches, patch.name)
    assert SpecifierSet(patch.versions).contains(version(patch.library))
    assert patch.what and patch.why


@pytest.mark.parametrize("target", TRAITS)
def test_each_known_launcher_exists(target: str) -> None:
    module, _, name = target.rpartition(".")
    assert hasattr(import_module(module), name)
