"""Published data sets without groups have the estimates of R: of `glm`, `glm.nb`, `polr`, `survreg`, `vglm`, `glmmTMB`.

The formulas are those that a user of R writes: names with dots, contrasts for ordered factors, weights, offsets,
censoring, and links other than the default. Priors are the defaults, which are wide: posteriors are the normal
approximations of the estimates but for skewness, which shifts means by a part of the standard error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.conftest import Command

HERE = Path(__file__).parent / "published"
TENSION = {"levels": {"tension": ["L", "M", "H"]}}
INSURED = {"levels": {"Group": ["<1l", "1-1.5l", "1.5-2l", ">2l"], "Age": ["<25", "25-29", "30-35", ">35"]}}
SEVERITY = {"levels": {"level": ["normal", "mild", "severe"]}}
PAIN = {
    "levels": {
        "pain": [
            *("worse", "same", "slight.improvement"),
            *("moderate.improvement", "marked.improvement", "complete.relief"),
        ]
    }
}
pytestmark = pytest.mark.slow

# the table with further keys of the data set, the model, and estimates with standard errors by the names of summary.csv
CASES: Mapping[str, tuple[str, Mapping[str, Any], Mapping[str, Any], Mapping[str, tuple[float, float]]]] = {
    # glm(Survived ~ Class + Sex + Age, binomial, weights = Freq): Dawson 1995, doi:10.1080/10691898.1995.11910499
    "titanic": (
        "titanic",
        {},
        {"formula": "Survived | weights(Freq) ~ C(Class) + C(Sex) + C(Age)", "family": "bernoulli"},
        {"C(Class)[3rd]": (-1.7778, 0.1716), "C(Sex)[Male]": (-2.4201, 0.1404), "C(Age)[Child]": (1.0615, 0.2440)},
    ),
    # glm(Claims ~ District + Group + Age + offset(log(Holders)), poisson): Venables and Ripley 2002, MASS's ?Insurance
    "insurance": (
        "insurance",
        INSURED,
        {
            "formula": "Claims ~ factor(District) + C(Group, contr.poly) + C(Age, Poly) + offset(log(Holders))",
            "family": "poisson",
        },
        {
            "factor(District)[4]": (0.2342, 0.0617),
            "C(Group, Poly)[.L]": (0.4297, 0.0495),
            "C(Age, Poly)[.L]": (-0.3944, 0.0494),
        },
    ),
    # glm(breaks ~ wool * tension, Gamma("inverse")): Tukey 1977, R's ?warpbreaks
    "warpbreaks_gamma": (
        "warpbreaks",
        TENSION,
        {"formula": "breaks ~ wool*tension", "family": "gamma", "options": {"link": "inverse"}},
        {
            "Intercept": (0.0224, 0.0027),
            "wool[B]": (0.0130, 0.0050),
            "tension[H]": (0.0183, 0.0055),
            "wool:tension[B:M]": (-0.0199, 0.0082),
        },
    ),
    # glm.nb(breaks ~ wool * tension, link = "sqrt")
    "warpbreaks_nb": (
        "warpbreaks",
        TENSION,
        {"formula": "breaks ~ wool*tension", "family": "negative_binomial", "options": {"link": "sqrt"}},
        {"Intercept": (6.6750, 0.3609), "wool[B]": (-1.3625, 0.4721), "wool:tension[B:M]": (1.8280, 0.6323)},
    ),
    # survreg(Surv(time, status) ~ age + sex + ph.ecog, dist = "lognormal"): Loprinzi et al. 1994, survival's ?lung
    "lung": (
        "lung",
        {"derive": {"censored": "where(status == 1, 1, 0)"}},
        {"formula": "time | cens(censored) ~ age + sex + ph.ecog", "family": "lognormal"},
        {"age": (-0.0194, 0.0083), "sex": (0.5286, 0.1532), "ph.ecog": (-0.3637, 0.1039)},
    ),
    # vglm(cbind(normal, mild, severe) ~ log(exposure.time), sratio(parallel = TRUE)): VGAM's ?pneumo; McCullagh and
    # Nelder 1989, section 5.6. The thresholds are far from 0 since the predictor is.
    "pneumo_sequential": (
        "pneumo",
        SEVERITY,
        {"formula": "level | weights(freq) ~ let", "family": "sequential"},
        {
            "cutpoints[normal|mild]": (8.7338, 1.1249),
            "cutpoints[mild|severe]": (8.0513, 1.1770),
            "let": (2.3214, 0.3258),
        },
    ),
    # the same with acat(parallel = TRUE)
    "pneumo_adjacent": (
        "pneumo",
        SEVERITY,
        {"formula": "level | weights(freq) ~ let", "family": "adjacent"},
        {
            "cutpoints[normal|mild]": (7.4293, 0.8771),
            "cutpoints[mild|severe]": (5.9330, 0.9909),
            "let": (1.7256, 0.2584),
        },
    ),
    # polr(pain ~ x1 + x2 + x3): VGAM's ?backPain; Anderson 1984, doi:10.1111/j.2517-6161.1984.tb01270.x
    "backpain": (
        "backpain",
        PAIN,
        {"formula": "pain ~ x1 + x2 + x3", "family": "cumulative"},
        {
            "cutpoints[same|slight.improvement]": (-6.3662, 1.0977),
            "x1": (-1.5147, 0.4024),
            "x2": (-0.4866, 0.2646),
            "x3": (-0.8658, 0.3735),
        },
    ),
    # glm(cbind(Menarche, Total - Menarche) ~ Age, binomial): Venables and Ripley 2002, MASS's ?menarche
    "menarche": (
        "menarche",
        {},
        {"formula": "cbind(Menarche, Total-Menarche) ~ Age", "family": "binomial"},
        {"Intercept": (-21.2264, 0.7707), "Age": (1.6320, 0.0590)},
    ),
    # glmmTMB(cbind(incidence, size - incidence) ~ period, betabinomial): lme4's ?cbpp, Lesnoff et al. 2004. The tail of
    # the precision's prior is so long that chains come to where the density was noise.
    "cbpp_overdispersed": (
        "../data/cbpp",
        {},
        {"formula": "cbind(incidence, size - incidence) ~ C(period)", "family": "beta_binomial"},
        {"Intercept": (-1.3188, 0.2326), "C(period)[2]": (-0.9689, 0.4064), "C(period)[4]": (-1.4725, 0.5109)},
    ),
}


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory, bayesrun: Command) -> Mapping[str, pd.DataFrame]:
    """Fit all cases in one sweep."""
    folder = tmp_path_factory.mktemp("estimates")
    for name, (table, data, model, _) in CASES.items():
        contents = {
            "model": {
                "defaults": [{"/data@_global_.data": name}, "_self_"],
                "name": name,
                "type": "regression",
                **model,
            },
            "data": {"name": name, "source": "csv", "path": str(HERE / f"{table}.csv"), **data},
        }
        for group, content in contents.items():
            (folder / "conf" / group).mkdir(parents=True, exist_ok=True)
            (folder / "conf" / group / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    few = ("sampler.chains=2", "sampler.tune=500", "sampler.draws=1000", "predictive.prior=0", "model.figures=[]")
    sweep = ("-m", f"model={','.join(CASES)}", "tracking=none", f"paths.outputs={folder}/out", "seed=14")
    done = bayesrun(f"--config-dir={folder}/conf", *sweep, *few, "predictive.posterior=false", timeout=900)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    found = {}
    for path in (folder / "out").rglob("summary.csv"):
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        found[str(config["model"]["name"])] = pd.read_csv(path).set_index("name")
    return found


@pytest.mark.parametrize("name", CASES)
def test_estimates_are_those_of_r(name: str, summaries: Mapping[str, pd.DataFrame]) -> None:
    found = summaries[name]
    for coefficient, (estimate, error) in CASES[name][3].items():
        row = found.loc[coefficient]
        assert abs(row["mean"] - estimate) < 0.2 * error + 4 * row["mcse_mean"], coefficient
        assert 0.9 < row["sd"] / error < 1.25, coefficient  # estimated with the sd of the noise known, or its shape
