"""One installed package adds an extension of every kind, and the real command runs them, bayesrun unedited."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import arviz as az
import numpy as np
import pytest
import yaml

from tests.conftest import Command, only_run

MODEL = '''
"""Counts with one rate."""
from pydantic import Field
from bayesrun.data.base import Role
from bayesrun.models.base import ModelSpec, ModelType, PriorNames
from bayesrun.schema import Section

class Options(Section):
    """`response`: the counts."""
    response: str = "counts"

class RateSpec(ModelSpec):
    """Config of `type: throwaway_rate`."""
    options: Options = Options()

def roles(spec):
    return (Role(spec.options.response, "observed", "count", key="model.options.response"),)

def build(data, spec):
    from bayesrun.language.declaration import Draft, observed_values
    from bayesrun.language.priors import declare
    draft = Draft(data)
    rate = declare(draft, "rate", spec.priors["rate"], "model.priors.rate")
    draft.observe("seen", "Poisson", {"mu": rate}, observed_values(data[spec.options.response]))
    return draft.declaration()

MODEL = ModelType(RateSpec, PriorNames(("rate",)), roles, build)
'''
SOURCE = '''
"""A flight of stairs."""
from bayesrun.data.base import DataSpec, Source

class StairsSpec(DataSpec):
    """Config of `source: throwaway_stairs`."""
    height: int = 4

def load(spec, directory):
    import xarray as xr
    return xr.Dataset({"counts": ((spec.dim,), list(range(spec.height)))}, attrs={"origin": "stairs"})

SOURCE = Source(spec=StairsSpec, load=load)
'''
CHECK = '''
"""Whether the rate is high."""
from bayesrun.diagnostics.base import Check, CheckResult, Finding

def run(judged):
    value = float(judged.summary.loc["rate", "mean"])
    finding = Finding("throwaway_high", "warn", f"The rate is {value:.1f}.", "rate", value)
    return CheckResult((finding,), {"high": value})

CHECK = Check(run)
'''
FIGURE = '''
"""A line."""
from bayesrun.figures.base import Figure

def draw(subject):
    from matplotlib.figure import Figure as Canvas
    canvas = Canvas()
    canvas.subplots().plot(subject.idata.posterior["rate"].values.ravel())
    return canvas

FIGURE = Figure(draw)
'''
SAMPLER = '''
"""Draws from the exact posterior of one positive variable, by a grid."""
from bayesrun.samplers.base import Sampled, Sampler, SamplerSpec

class GridSpec(SamplerSpec):
    """Config of `method: throwaway_grid`."""
    method: str = "throwaway_grid"
    points: int = 4000
    highest: float = 20.0

def sample(model, spec, seed, monitor):
    import numpy as np
    grid = np.linspace(0, spec.highest, spec.points + 1)[1:]
    of_log = model.log_density().evaluate
    density = np.array([of_log(np.array([np.log(x)]))[0] - np.log(x) for x in grid])
    weights = np.exp(density - density.max())
    draws = np.random.default_rng(seed).choice(grid, (spec.chains, spec.draws), p=weights / weights.sum())
    for chain in range(spec.chains):
        monitor.draw(chain, spec.draws, False, False)
    return Sampled({"rate": draws}, {}, {"rate": "grid"}, 0.0, 0.1)

SAMPLER = Sampler(GridSpec, sample, judged_as="nuts")
'''
FUNCTION = '''
"""Twice."""
from bayesrun.models.functions.base import Function

FUNCTION = Function(lambda value: 2 * value, takes="integer", gives="integer")
'''
DISTRIBUTION = '''
"""Log-logistic survival times."""
from bayesrun.language.densities.algebra import log, log_sigmoid
from bayesrun.language.densities.base import Declared
from bayesrun.language.densities.base import elementwise

def z(x, p):
    return p["beta"] * (log(x) - log(p["alpha"]))

DISTRIBUTION = Declared(
    lambda x, p: log(p["beta"]) - log(x) + log_sigmoid(z(x, p)) + log_sigmoid(-z(x, p)),
    elementwise(lambda rng, a, b: a * (1 / rng.random(a.shape) - 1) ** (-1 / b), "alpha", "beta"),
    log_cdf=lambda x, p: log_sigmoid(z(x, p)),
    log_survival=lambda x, p: log_sigmoid(-z(x, p)),
    line="ThrowawayLogLogistic | positive | 0 | alpha:positive beta:positive",
)
'''
FAMILY = '''
"""Responses around the line with heavy tails on both sides."""
from bayesrun.models.regression.families import Family, Parameter

SCALE = {"dist": "HalfNormal", "sigma": "10 * term_scale"}
FAMILY = Family(
    "real",
    {"mu": Parameter(("identity",)), "width": Parameter(("log",), SCALE)},
    "Laplace",
    {"mu": "{mu}", "b": "{width}"},
)
'''
MODULES = {
    "bayesrun.distributions": ("ThrowawayLogLogistic", DISTRIBUTION),
    "bayesrun.models": ("throwaway_rate", MODEL),
    "bayesrun.data": ("throwaway_stairs", SOURCE),
    "bayesrun.diagnostics": ("throwaway_high", CHECK),
    "bayesrun.figures": ("throwaway_line", FIGURE),
    "bayesrun.samplers": ("throwaway_grid", SAMPLER),
    "bayesrun.models.functions": ("throwaway_twice", FUNCTION),
    "bayesrun.families": ("throwaway_laplace", FAMILY),
}
CONF = {
    "model/throwaway.yaml": {
        "defaults": [{"/data@_global_.data": "throwaway"}, "_self_"],
        "name": "throwaway",
        "type": "throwaway_rate",
        "priors": {"rate": {"dist": "Gamma", "alpha": 2, "beta": 1}},
        "options": {"response": "counts"},
        "figures": ["throwaway_line"],
    },
    "data/throwaway.yaml": {"name": "throwaway", "source": "throwaway_stairs", "height": 5},
    "sampler/throwaway.yaml": {"method": "throwaway_grid", "draws": 500, "chains": 4, "points": 4000},
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like `site-packages` with one distribution, `throwaway-bayes`, and the user's YAML beside it."""
    site = tmp_path_factory.mktemp("site-packages")
    info = site / "throwaway_bayes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: throwaway-bayes\nVersion: 1.0\n")
    entries = ""
    (site / "throwaway_bayes").mkdir()
    (site / "throwaway_bayes/__init__.py").touch()
    for group, (name, code) in MODULES.items():
        (site / "throwaway_bayes" / f"{name}.py").write_text(code)
        entries += f"[{group}]\n{name} = throwaway_bayes.{name}\n"
    (info / "entry_points.txt").write_text(entries)
    for path, content in CONF.items():
        (site / "conf" / path).parent.mkdir(parents=True, exist_ok=True)
        (site / "conf" / path).write_text(yaml.safe_dump(content, sort_keys=False))
    return site


@pytest.fixture(scope="module")
def command(installed: Path, bayesrun: Command):  # type: ignore[no-untyped-def]
    """The real command with the package on its path."""
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    return lambda *words: bayesrun(
        f"--config-dir={installed}/conf", "plugins=[throwaway-bayes]", "tracking=none", *words, PYTHONPATH=path
    )


def test_model_source_check_figure_and_sampler_of_a_plug_in_run(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = command("model=throwaway", "sampler=throwaway", f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path)
    rate = az.from_netcdf(folder / "posterior.nc").posterior["rate"].values
    shape, inverse = 2 + 10, 1 + 5  # Gamma-Poisson: counts 0, 1, 2, 3, 4
    assert abs(rate.mean() - shape / inverse) < 4 * np.sqrt(shape) / inverse / np.sqrt(rate.size) + 20 / 4000
    found = json.loads((folder / "findings.json").read_text())
    assert [f["variable"] for f in found if f["check"] == "throwaway_high"] == ["rate"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["high"] == pytest.approx(rate.mean())
    assert metrics["r_hat_max"] < 1.01  # judged as a Markov chain
    assert json.loads((folder / "status.json").read_text())["verdict"] == "warn"
    assert (folder / "figures/throwaway_line.png").stat().st_size > 1000


def test_a_function_of_a_plug_in_runs(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    few = ["sampler.draws=50", "sampler.tune=50", "sampler.chains=2", "model.figures=[]", "predictive.prior=10"]
    given = ["model=arbitrary_deterministic", "model.options.function=throwaway_twice", "sampler.method=prior"]
    done = command(*given, *few, f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    posterior = az.from_netcdf(only_run(tmp_path) / "posterior.nc").posterior
    np.testing.assert_array_equal(posterior["b"], 2 * posterior["a"])


def test_a_distribution_of_a_plug_in_is_sampled_censored_and_predicted(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    times = [0.4, 0.7, 0.9, 1.1, 1.4, 1.6, 2.0, 2.2, 3.1, 4.0] * 8
    likelihood = {"dist": "ThrowawayLogLogistic", "alpha": "a", "beta": 3, "observed": "time"}
    model = {
        "name": "survival",
        "type": "declarative",
        "priors": {"a": {"dist": "HalfNormal", "sigma": 5}},
        "likelihood": {"y": {**likelihood, "censored": {"upper": 4}}},
    }
    for folder, content in (("model", model), ("data", {"name": "t", "source": "inline", "values": {"time": times}})):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.yaml").write_text(yaml.safe_dump(content))
    few = ["sampler.draws=200", "sampler.tune=200", "sampler.chains=2", "model.figures=[]"]
    own = [f"hydra.searchpath=[file://{tmp_path}]", "model=own", "data=own"]
    done = command(*own, *few, f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    found = az.from_netcdf(only_run(tmp_path) / "posterior.nc")
    a = np.linspace(0.5, 4, 2000)
    z = 3 * (np.log(np.array(times)) - np.log(a[:, None]))
    seen = -np.logaddexp(0, z) - np.where(np.array(times) < 4, np.logaddexp(0, -z), 0)
    weights = np.exp(seen.sum(axis=1) - seen.sum(axis=1).max() - a**2 / 50)
    mean = (weights * a).sum() / weights.sum()
    sd = np.sqrt((weights * (a - mean) ** 2).sum() / weights.sum())
    assert abs(found.posterior["a"].values.mean() - mean) < 0.5 * sd
    assert found.posterior_predictive["y"].values.max() == 4
    assert np.isfinite(found.log_likelihood["y"].values).all()


def test_a_family_of_a_plug_in_explains_responses(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    given = ["model=regression", "model.family=throwaway_laplace", "model.formula='log_radon ~ floor'"]
    done = command(*given, "task=expand", f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    printed = yaml.safe_load(done.stdout)
    assert printed["likelihood"]["log_radon_obs"]["dist"] == "Laplace"
    assert printed["priors"]["width"]["dist"] == "HalfNormal"


def test_faults_in_a_plug_ins_keys_are_told_as_bayesruns_own(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = command("model=throwaway", "data.height=high", "+sampler.pionts=3", "sampler=throwaway")
    assert done.returncode == 1
    assert "data.height" in done.stderr
    assert "did you mean 'points'" in done.stderr


def test_unlisted_it_does_not_count(bayesrun: Command, installed: Path) -> None:
    done = bayesrun(f"--config-dir={installed}/conf", "model=throwaway", "tracking=none", PYTHONPATH=str(installed))
    assert done.returncode == 1
    assert "unknown model type 'throwaway_rate'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_throw_away_package_is_nothing_that_this_process_knows() -> None:
    assert not [name for name in sys.modules if name.startswith("throwaway_bayes")]
