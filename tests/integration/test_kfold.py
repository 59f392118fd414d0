"""`task=kfold` against exact refits of a normal model, which have a closed form, through the real command."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal, nbinom, norm

from tests.conftest import Command

ROWS, GROUPS = 40, 5
SPREAD, NOISE, WIDE = 1.5, 0.8, 10.0
_MODEL = """
    defaults: [{{/data@_global_.data: plots}}, _self_]
    name: {name}
    type: declarative
    priors:
      a: {{dist: Normal, mu: 0, sigma: 10}}
      {slope}
      u: {{dist: Normal, mu: 0, sigma: 1.5, dims: [plot]}}
    likelihood:
      y: {{dist: Normal, mu: "{mu}", sigma: 0.8, observed: y}}
    figures: []
"""


@pytest.fixture(scope="module")
def plots(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Fit two models of one's own to rows in groups: with a predictor, and without it."""
    folder = tmp_path_factory.mktemp("plots")
    for name in ("model", "data"):
        (folder / name).mkdir()
    rng = np.random.default_rng(12)
    group, x = np.arange(ROWS) % GROUPS, rng.normal(size=ROWS)
    y = 2 + 1.2 * x + rng.normal(0, SPREAD, GROUPS)[group] + rng.normal(0, NOISE, ROWS)
    table = pd.DataFrame({"x": x, "y": y, "plot": np.array(list("ABCDE"))[group], "day": rng.permutation(ROWS)})
    table.to_csv(folder / "plots.csv", index=False)
    data = f"name: plots\nsource: csv\npath: {folder / 'plots.csv'}\nfactors: {{g: plot}}\n"
    (folder / "data" / "plots.yaml").write_text(data)
    slope = "b: {dist: Normal, mu: 0, sigma: 10}"
    for name, mu, prior in (("with_x", "a + b * x + u[g]", slope), ("without_x", "a + u[g]", "")):
        text = textwrap.dedent(_MODEL.format(name=name, mu=mu, slope=prior))
        (folder / "model" / f"{name}.yaml").write_text(text)
    found = {"folder": folder}
    for name in ("with_x", "without_x"):
        words = ("sampler.draws=1000", "sampler.tune=500", "sampler.chains=2", "tracking=none", "report=false")
        done = bayesrun("--config-dir", folder, f"model={name}", f"paths.outputs={folder / 'outputs'}", *words)
        assert done.returncode == 0, done.stderr
        found[name] = _folder(done.stdout)
    return found


def _folder(stdout: str) -> Path:
    return Path(stdout.rpartition("folder: ")[2].split("\n")[0].strip())


@pytest.fixture
def cross_validate(bayesrun: Command, plots: Mapping[str, Path]) -> Callable[..., Path]:
    def call(*words: str, model: str = "with_x") -> Path:
        outputs = f"paths.outputs={plots['folder'] / 'outputs'}"
        done = bayesrun("task=kfold", f"run={plots[model]}", outputs, "tracking=none", *words)
        assert done.returncode == 0, done.stderr
        return _folder(done.stdout)

    return call


def _exact(plots: Mapping[str, Path], known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the exact log predictive density of each wanted row, of a fit to the known rows."""
    table = pd.read_csv(plots["folder"] / "plots.csv")
    effects = (table["plot"].to_numpy()[:, None] == np.array(list("ABCDE"))).astype(float)
    design = np.column_stack([np.ones(ROWS), table["x"], effects])
    prior = np.diag([WIDE**2, WIDE**2, *[SPREAD**2] * GROUPS])
    covariance = design @ prior @ design.T + NOISE**2 * np.eye(ROWS)
    y = table["y"].to_numpy()
    gain = covariance[np.ix_(wanted, known)] @ np.linalg.inv(covariance[np.ix_(known, known)])
    variance = covariance[np.ix_(wanted, wanted)] - gain @ covariance[np.ix_(known, wanted)]
    return np.asarray(norm.logpdf(y[wanted], gain @ y[known], np.sqrt(np.diag(variance))))


def _check(plots: Mapping[str, Path], made: Path, future: bool = False) -> pd.DataFrame:
    """Compare every point with the exact refit of its fold."""
    points = pd.read_csv(made / "pointwise.csv")
    rows = points["point"].str.extract(r"y\[(\d+)\]")[0].astype(int).to_numpy()
    fold = np.full(ROWS, -1)
    fold[rows] = points["fold"]
    exact = np.empty(len(points))
    for number in range(fold.max() + 1):
        wanted = np.flatnonzero(fold == number)
        known = np.flatnonzero(fold < number if future else fold != number)
        exact[np.searchsorted(rows, wanted)] = _exact(plots, known, wanted)
    z = (points["elpd"] - exact) / points["mcse"]
    assert z.abs().max() < 5, "a point differs from its exact refit"
    metrics = json.loads((made / "metrics.json").read_text())
    assert metrics["elpd_kfold"] == pytest.approx(exact.sum(), abs=4 * metrics["elpd_kfold_mcse"])
    assert metrics["elpd_kfold"] == pytest.approx(points["elpd"].sum())
    of_folds = pd.read_csv(made / "kfold.csv")["mcse"]
    assert metrics["elpd_kfold_mcse"] == pytest.approx(np.sqrt((of_folds**2).sum()))
    assert metrics["kfold_few_draws"] == (points["deciding"] < 50).sum()
    return points


def test_random_folds_equal_exact_refits(plots: Mapping[str, Path], cross_validate: Callable[..., Path]) -> None:
    points = _check(plots, cross_validate("kfold.k=4"))
    assert sorted(np.bincount(points["fold"])) == [10] * 4


def test_a_left_out_group_is_predicted_as_a_new_one(
    plots: Mapping[str, Path], cross_validate: Callable[..., Path]
) -> None:
    points = _check(plots, cross_validate("kfold.by=plot"))
    plot = pd.read_csv(plots["folder"] / "plots.csv")["plot"]
    assert (points.groupby("fold")["point"].nunique() == ROWS // GROUPS).all()
    assert all(plot[points.index[points["fold"] == number]].nunique() == 1 for number in range(GROUPS))


def test_the_future_is_predicted_from_the_past(plots: Mapping[str, Path], cross_validate: Callable[..., Path]) -> None:
    made = cross_validate("kfold.kind=future", "kfold.by=day", "kfold.k=3", "kfold.first=0.7")
    points = _check(plots, made, future=True)
    day = pd.read_csv(plots["folder"] / "plots.csv")["day"]
    rows = points["point"].str.extract(r"y\[(\d+)\]")[0].astype(int)
    assert len(points) == 12 and day[rows].min() == 28
    assert day[rows[points["fold"] == 0]].max() < day[rows[points["fold"] == 1]].min()


def test_stratified_folds_have_the_same_mix(plots: Mapping[str, Path], cross_validate: Callable[..., Path]) -> None:
    points = _check(plots, cross_validate("kfold.k=4", "kfold.kind=stratified", "kfold.by=plot"))
    plot = pd.read_csv(plots["folder"] / "plots.csv")["plot"]
    assert (pd.crosstab(points["fold"], plot) == 2).all().all()


def test_models_are_compared_by_the_same_folds_only(
    bayesrun: Command, plots: Mapping[str, Path], cross_validate: Callable[..., Path]
) -> None:
    one, other = cross_validate("kfold.k=4"), cross_validate("kfold.k=4", model="without_x")
    outputs = f"paths.outputs={plots['folder'] / 'outputs'}"
    done = bayesrun("task=compare", f"runs=[{one},{other}]", outputs, "tracking=none")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(_folder(done.stdout) / "compare.csv", index_col="run")
    assert list(table.index) == ["with_x", "without_x"]
    points = [pd.read_csv(folder / "pointwise.csv")["elpd"] for folder in (one, other)]
    assert table.loc["without_x", "elpd_diff"] == pytest.approx((points[0] - points[1]).sum())
    assert table.loc["without_x", "dse"] == pytest.approx(np.sqrt(ROWS) * (points[0] - points[1]).std(ddof=0))
    other_seed = cross_validate("kfold.k=4", "seed=5", model="without_x")
    for runs, reason in (
        ([one, other_seed], "'without_x' has other folds than 'with_x'"),
        ([one, plots["without_x"]], "'without_x' has leave-one-out densities and 'with_x' K-fold ones"),
    ):
        refused = bayesrun("task=compare", f"runs=[{runs[0]},{runs[1]}]", outputs, "tracking=none")
        assert refused.returncode == 1 and reason in refused.stderr


def test_the_folder_names_its_parent(plots: Mapping[str, Path], cross_validate: Callable[..., Path]) -> None:
    made = cross_validate("kfold.k=4")
    record = json.loads((made / "provenance.json").read_text())
    assert record["parent"]["folder"] == str(plots["with_x"])
    assert record["data_digest"] == json.loads((plots["with_x"] / "provenance.json").read_text())["data_digest"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["kfold.kind=grouped"], "kfold.by: is required for grouped folds"),
        (["kfold.by=plto"], "kfold.by: there is no column 'plto' over the rows 'obs'"),
        (["kfold.k=41"], "kfold.k: must be from 2 to the number of rows, 40 (got 41)"),
        (["kfold.by=plot", "kfold.kind=random"], "kfold.by: has no meaning for random folds"),
        (["model.priors.a.sigma=1"], "model.priors.a.sigma: belongs to the run, which is finished"),
    ],
)
def test_what_is_wrong_is_told_before_any_fit(
    bayesrun: Command, plots: Mapping[str, Path], words: list[str], message: str
) -> None:
    outputs = f"paths.outputs={plots['folder'] / 'outputs'}"
    done = bayesrun("task=kfold", f"run={plots['with_x']}", outputs, "tracking=none", *words)
    assert done.returncode == 1 and message in done.stderr


def test_a_model_of_positive_parameters_alone_is_cross_validated(bayesrun: Command, tmp_path: Path) -> None:
    """Counts with a gamma prior: without a fold, the rest has a negative binomial predictive distribution."""
    counts = np.array([2, 4, 1, 0, 3, 5, 2, 2, 1, 9])
    data = f"{{name: counts, source: inline, values: {{y: {counts.tolist()}}}}}"
    model = "type: declarative\nname: counts\nfigures: []\npriors: {rate: {dist: Gamma, alpha: 2, beta: 1}}\n"
    (tmp_path / "model").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "counts.yaml").write_text(data)
    likelihood = "likelihood: {y: {dist: Poisson, mu: rate, observed: y}}\n"
    (tmp_path / "model" / "counts.yaml").write_text(
        f"defaults: [{{/data@_global_.data: counts}}, _self_]\n{model}{likelihood}"
    )
    given = ("sampler.chains=2", "sampler.tune=300", "tracking=none", f"paths.outputs={tmp_path / 'outputs'}")
    fitted = bayesrun("--config-dir", tmp_path, "model=counts", "report=false", *given)
    assert fitted.returncode == 0, fitted.stderr
    done = bayesrun("task=kfold", f"run={_folder(fitted.stdout)}", "kfold.k=2", *given)
    assert done.returncode == 0, done.stderr
    made = _folder(done.stdout)
    points, folds = pd.read_csv(made / "pointwise.csv"), pd.read_csv(made / "kfold.csv")
    for place, point in points.iterrows():
        rest = counts[(points["fold"] != point["fold"]).to_numpy()]
        rate = 1 + len(rest)
        exact = nbinom.logpmf(counts[place], 2 + rest.sum(), rate / (rate + 1))
        assert abs(point["elpd"] - exact) < 5 * point["mcse"]
    assert folds["r_hat_max"].between(0.99, 1.05).all()


def test_the_joint_density_of_the_closed_form_is_right(plots: Mapping[str, Path]) -> None:
    """The reference itself: densities of single rows, given all before them, multiply to the joint one."""
    table = pd.read_csv(plots["folder"] / "plots.csv")
    effects = (table["plot"].to_numpy()[:, None] == np.array(list("ABCDE"))).astype(float)
    design = np.column_stack([np.ones(ROWS), table["x"], effects])
    prior = np.diag([WIDE**2, WIDE**2, *[SPREAD**2] * GROUPS])
    joint = multivariate_normal.logpdf(table["y"], np.zeros(ROWS), design @ prior @ design.T + NOISE**2 * np.eye(ROWS))
    first = norm.logpdf(table["y"][0], 0, np.sqrt(design[0] @ prior @ design[0] + NOISE**2))
    rest = sum(_exact(plots, np.arange(i), np.array([i]))[0] for i in range(1, ROWS))
    assert first + rest == pytest.approx(joint)
