"""Names of runs, where bayesrun's files lie, and what a config may not read."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bayesrun.config import resolvers
from bayesrun.config.resolvers import register_resolvers, run_name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("", "switchpoint"),
        ("model=switchpoint", "switchpoint"),
        ("model.priors.early_rate.lam=0.5", "switchpoint_early_rate.lam=0.5"),
        ("++model.priors.early_rate.lam=2,+sampler.step.x=Slice", "switchpoint_early_rate.lam=2_step.x=Slice"),
        ("sampler.draws=200,tracking=none,paths.outputs=/tmp/x", "switchpoint_sampler.draws=200"),
        ("seed=1,data=mine", "switchpoint_seed=1_data=mine"),
        ("predictive.prior=0,sampler.progress=true", "switchpoint_predictive.prior=0"),
        ("data.columns=[a,b],seed=2", "switchpoint_data.columns=_a_b__seed=2"),
        ("model.formula=Y ~ X1/X2", "switchpoint_model.formula=Y_X1_X2"),
    ],
)
def test_a_name_says_what_matters(overrides: str, name: str) -> None:
    assert run_name(None, "switchpoint", overrides) == name


def test_a_given_name_wins_and_is_fit_for_a_folder() -> None:
    assert run_name("My first/run: ü", "m", "seed=1") == "My_first_run_ü"


def test_a_name_is_never_too_long_for_a_folder() -> None:
    name = run_name(None, "m", ",".join(f"model.priors.p{i}.sigma={i}" for i in range(50)))
    assert len(name) <= 80
    assert name[-1] not in "_.-"


def test_a_secret_is_not_in_a_name() -> None:
    assert "word" not in run_name(None, "m", "data.url=postgresql://me:word@host/db")


def test_the_environment_can_not_be_read() -> None:
    register_resolvers()
    with pytest.raises(OmegaConfBaseException, match=r"oc\.env is not allowed"):
        _ = OmegaConf.create({"a": "${oc.env:HOME}"}).a


def test_the_checkouts_folders() -> None:
    assert (resolvers.conf() / "main.yaml").is_file()
    assert (resolvers.data() / "mining_disasters.csv").is_file()
    assert (resolvers.root() / "pyproject.toml").is_file()


def test_an_installed_package_has_its_own_folders(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "conf").mkdir()
    (tmp_path / "sample_data").mkdir()
    monkeypatch.setattr(resolvers, "PACKAGE", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert (resolvers.conf(), resolvers.data(), resolvers.root()) == (
        tmp_path / "conf",
        tmp_path / "sample_data",
        tmp_path,
    )
