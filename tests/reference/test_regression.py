"""Published fits with group effects, through the real command: lme4's estimates, and predictions of groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import yaml

from tests.conftest import Command, only_run

DATA = Path(__file__).parent / "data"
FEW = ("tracking=none", "model.figures=[]", "sampler.chains=2", "sampler.tune=500", "predictive.prior=20")


def configs(folder: Path, name: str, model: dict[str, Any], **data: Any) -> Path:
    """Write a model and its data set below a folder."""
    sections = {
        "model": {"defaults": [{"/data@_global_.data": name}, "_self_"], "name": name, "type": "regression", **model},
        "data": {"name": name, "source": "csv", "path": str(DATA / f"{name}.csv"), **data},
    }
    for group, content in sections.items():
        (folder / group).mkdir(parents=True, exist_ok=True)
        (folder / group / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def near(draws: Any, estimate: float, share: float) -> None:
    """Check that a mean is an estimate, but for Monte Carlo error and a share of the sd for what the priors add."""
    values = np.asarray(draws.values)
    error = 4.0 * float(az.mcse(values, method="mean"))
    assert abs(values.mean() - estimate) < error + share * values.std(), (values.mean(), estimate, error)


@pytest.fixture(scope="module")
def sleepstudy(tmp_path_factory: pytest.TempPathFactory, bayesrun: Command) -> Path:
    folder = tmp_path_factory.mktemp("sleepstudy")
    configs(folder / "conf", "sleepstudy", {"formula": "Reaction ~ Days + (Days | Subject)"})
    new = {"name": "new", "source": "inline", "values": {"Days": [0, 9, 9], "Subject": [308, 308, 999]}}
    (folder / "conf/data/new.yaml").write_text(yaml.safe_dump(new))
    words = ("model=sleepstudy", "sampler.draws=1000", "predict.data=new", "predict.new_levels=population")
    done = bayesrun(f"--config-dir={folder}/conf", *words, *FEW, f"paths.outputs={folder}/out")
    assert done.returncode in (0, 3), done.stderr
    assert "effects of 18 groups of 'Subject' are sampled centred" in done.stdout
    return only_run(folder / "out")


def test_sleepstudy_has_the_estimates_of_lme4(sleepstudy: Path) -> None:
    """`lmer(Reaction ~ Days + (Days | Subject))`, REML, lme4 1.1-31; Bates et al. 2015, section 1.2."""
    posterior = az.from_netcdf(sleepstudy / "posterior.nc").posterior
    near(posterior["Intercept"], 251.405, 0.1)
    near(posterior["Days"], 10.467, 0.1)
    near(posterior["sigma"], 25.592, 0.3)
    sd, cor = posterior["sd_Subject"], posterior["cor_Subject"]
    near(sd.sel(Subject_effect="Intercept"), 24.741, 0.5)
    near(sd.sel(Subject_effect="Days"), 5.922, 0.6)
    near(cor.sel(Subject_pair="Intercept, Days"), 0.066, 0.3)
    effects = posterior["r_Subject"]  # ranef(): of subject 308
    near(effects.sel(Subject=308, Subject_effect="Intercept"), 2.2586, 0.2)
    near(effects.sel(Subject=308, Subject_effect="Days"), 9.1990, 0.2)
    assert not {"coefficients", "chol_Subject", "coefficients_whitened"} & set(posterior.data_vars)


def test_known_groups_are_predicted_by_their_effects_and_new_ones_by_the_population(sleepstudy: Path) -> None:
    posterior = az.from_netcdf(sleepstudy / "posterior.nc").posterior
    table = pd.read_csv(sleepstudy / "predictions.csv")
    mu = table[table["kind"] == "mu"].set_index("obs")
    of_308 = posterior["r_Subject"].sel(Subject=308)
    level = posterior["Intercept"] + of_308.sel(Subject_effect="Intercept")
    slope = posterior["Days"] + of_308.sel(Subject_effect="Days")
    assert mu.loc[0, "mean"] == pytest.approx(float(level.mean()), rel=1e-6)
    assert mu.loc[1, "mean"] == pytest.approx(float((level + 9 * slope).mean()), rel=1e-6)
    # the mean of someone new: Var(b0 + 9 b1) + E(s0^2 + 18 rho s0 s1 + 81 s1^2)
    sd = posterior["sd_Subject"].values
    cor = posterior["cor_Subject"].values[..., 0]
    between = (sd[..., 0] ** 2 + 18 * cor * sd[..., 0] * sd[..., 1] + 81 * sd[..., 1] ** 2).mean()
    fixed = (posterior["Intercept"] + 9 * posterior["Days"]).values
    assert mu.loc[2, "sd"] == pytest.approx(np.sqrt(between + fixed.var()), rel=0.1)


def test_cbpp_has_the_estimates_of_lme4_also_as_the_declarative_model_that_it_means(
    tmp_path: Path, bayesrun: Command
) -> None:
    """`glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), binomial, nAGQ = 9)`, lme4 1.1-31.

    Its sd of the herds is a maximum; the posterior mean is higher (0.6475 and about 0.76).
    """
    formula = "cbind(incidence, size - incidence) ~ C(period) + (1 | herd)"
    conf = configs(tmp_path / "conf", "cbpp", {"formula": formula, "family": "binomial"})
    expand = bayesrun(f"--config-dir={conf}", "task=expand", "model=cbpp", f"expand.folder={tmp_path}/expanded")
    assert expand.returncode == 0, expand.stderr
    printed = yaml.safe_load(expand.stdout)
    assert printed["type"] == "declarative" and printed["likelihood"]["incidence_obs"]["dist"] == "Binomial"
    runs = {"cbpp": conf, "cbpp_expanded": tmp_path / "expanded"}
    for name, config in runs.items():
        words = (f"model={name}", f"paths.outputs={tmp_path}/{name}", "sampler.draws=1000", *FEW)
        done = bayesrun(f"--config-dir={config}", *words)
        assert done.returncode in (0, 3), done.stderr
        posterior = az.from_netcdf(only_run(tmp_path / name) / "posterior.nc").posterior
        near(posterior["Intercept"], -1.3992, 0.3)
        for period, estimate in zip("234", (-0.9914, -1.1278, -1.5795), strict=True):
            near(posterior["C(period)"].sel({"C(period)_level": period}), estimate, 0.2)
        near(posterior["sd_herd"][..., 0], 0.6475, 0.7)
        assert [int(h) for h in posterior["herd"]] == list(range(1, 16))
