"""`task=effects` against what the posterior draws give by hand, through the real command."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.conftest import Command

_PENGUINS = Path(__file__).parents[1] / "reference" / "published" / "penguins.csv"
_MODELS = {
    "logistic": "type: regression\nfamily: bernoulli\nformula: y ~ x * t + (1 | clinic)",
    "line": "type: regression\nformula: z ~ x + I(x**2)",
    "grades": "type: regression\nfamily: cumulative\nformula: grade ~ x + C(site)",
    "spread": "type: regression\nformula: {mu: z ~ x, sigma: ~ x}",
    "wards": """type: declarative
priors:
  a: {dist: Normal, mu: 0, sigma: 2}
  b: {dist: Normal, mu: 0, sigma: 2}
  tau: {dist: HalfNormal, sigma: 1}
  u: {dist: Normal, mu: 0, sigma: tau, dims: [clinic], parameterization: noncentered}
likelihood:
  y: {dist: Bernoulli, p: "sigmoid(a + b * x + u[c])", observed: y}""",
}


@pytest.fixture(scope="module")
def fitted(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Fit models to one table: rows lack `x` or `z`, which drops them, or what no model reads, which does not."""
    folder = tmp_path_factory.mktemp("effects")
    for name in ("model", "data"):
        (folder / name).mkdir()
    rng = np.random.default_rng(3)
    size = 80
    clinic, x, t = rng.integers(0, 5, size), rng.normal(size=size), rng.choice(["ctrl", "drug"], size)
    line = -0.3 + 0.8 * x + (t == "drug") + rng.normal(size=5)[clinic]
    table = pd.DataFrame({"x": x, "t": t, "clinic": [f"c{i}" for i in clinic]})
    table["y"] = (rng.uniform(size=size) < 1 / (1 + np.exp(-line))).astype(int)
    table["z"] = 1 + 2 * x - x**2 + rng.normal(size=size)
    table["grade"] = pd.cut(x + rng.logistic(size=size), [-99, -1, 1, 99], labels=["low", "mid", "top"])
    table["site"] = rng.choice([10, 20, 30], size)
    table["unread"] = 1.0
    table.loc[7, "x"] = table.loc[9, "unread"] = table.loc[12, "z"] = np.nan
    table.to_csv(folder / "table.csv", index=False)
    text = f"name: table\nsource: csv\npath: {folder / 'table.csv'}\ndrop_missing: rows\n"
    text += "levels: {grade: [low, mid, top]}\nfactors: {c: clinic}\n"
    (folder / "data" / "table.yaml").write_text(text)
    found = {"outputs": folder / "outputs", "table": folder / "table.csv"}
    for name, body in _MODELS.items():
        head = f"defaults: [{{/data@_global_.data: table}}, _self_]\nname: {name}\nfigures: []\n"
        (folder / "model" / f"{name}.yaml").write_text(head + body + "\n")
        short = ["sampler.draws=150", "sampler.tune=300", "tracking=none", f"paths.outputs={folder / 'outputs'}"]
        done = bayesrun("--config-dir", folder, f"model={name}", *short)
        assert done.returncode == 0, done.stderr
        found[name] = Path(done.stdout.rpartition("folder: ")[2].split("\n")[0].strip())
    return found


def _asked(bayesrun: Command, fitted: Mapping[str, Path], model: str, *more: str) -> pd.DataFrame:
    given = ["task=effects", f"run={fitted[model]}", f"paths.outputs={fitted['outputs']}", "tracking=none"]
    done = bayesrun(*given, *more)
    assert done.returncode == 0, done.stderr
    return pd.read_csv(Path(done.stdout.strip().rpartition("folder: ")[2]) / "effects.csv")


def _draws(folder: Path) -> dict[str, np.ndarray]:
    posterior = xr.open_dataset(folder / "posterior.nc", group="posterior")
    return {str(a.attrs.get("name", n)): a.values.reshape(-1, *a.shape[2:]) for n, a in posterior.data_vars.items()}


def _probabilities(draws: Mapping[str, np.ndarray], table: pd.DataFrame, group: float = 1.0) -> np.ndarray:
    """Return probabilities (draw, row) of the logistic model."""
    x, drug = table["x"].to_numpy(), (table["t"] == "drug").to_numpy(dtype=float)
    clinic = table["clinic"].str[1:].astype(int).to_numpy()
    line = draws["Intercept"][:, None] + draws["x"][:, None] * x + draws["t"] * drug
    line = line + draws["x:t"] * x * drug + group * draws["r_clinic"][:, clinic, 0]
    return np.asarray(1 / (1 + np.exp(-line)))


def test_averages_of_a_logistic_regression_are_those_of_its_draws(
    bayesrun: Command, fitted: Mapping[str, Path]
) -> None:
    table = pd.read_csv(fitted["table"]).dropna(subset=["x"])
    draws = _draws(fitted["logistic"])
    sides = [_probabilities(draws, table.assign(t=t)).mean(axis=1) for t in ("ctrl", "drug")]
    row = _asked(bayesrun, fitted, "logistic", "effects.of=t").iloc[0]
    assert row["contrast"] == "drug - ctrl"
    difference = sides[1] - sides[0]
    assert row["mean"] == pytest.approx(difference.mean())
    assert row["sd"] == pytest.approx(difference.std(ddof=1))
    assert row["above_0"] == pytest.approx((difference > 0).mean())
    odds = [side / (1 - side) for side in sides]
    row = _asked(bayesrun, fitted, "logistic", "effects.of=t", "effects.comparison=odds_ratio").iloc[0]
    assert row["mean"] == pytest.approx((odds[1] / odds[0]).mean())
    by_clinic = _asked(bayesrun, fitted, "logistic", "effects.by=clinic").set_index("clinic")
    for clinic in ("c0", "c3"):
        own = _probabilities(draws, table[table["clinic"] == clinic]).mean(axis=1)
        assert by_clinic.loc[clinic, "mean"] == pytest.approx(own.mean())
    for x, mean in _asked(bayesrun, fitted, "logistic", "effects.at={x: [-1, 2]}", "effects.groups=none")[
        ["x", "mean"]
    ].to_numpy():
        assert mean == pytest.approx(_probabilities(draws, table.assign(x=x), group=0.0).mean())


def test_slopes_are_derivatives_and_typical_rows_are_means(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    table = pd.read_csv(fitted["table"]).dropna(subset=["x", "z"])
    draws = _draws(fitted["line"])
    slope = draws["x"] + 2 * draws["I(x**2)"] * table["x"].mean()
    row = _asked(bayesrun, fitted, "line", "effects.of=x", "effects.kind=slopes").iloc[0]
    assert row["mean"] == pytest.approx(slope.mean(), rel=1e-6)
    assert row["sd"] == pytest.approx(slope.std(ddof=1), rel=1e-6)
    typical = draws["Intercept"] + draws["x"] * table["x"].mean() + draws["I(x**2)"] * table["x"].mean() ** 2
    row = _asked(bayesrun, fitted, "line", "effects.typical=true").iloc[0]
    assert row["mean"] == pytest.approx(typical.mean())


def _marginal(line: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Integrate the inverse logit of `line` (draw, row) plus a normal effect of scale `sd` (draw,); mean over rows."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    of_node = [1 / (1 + np.exp(-(line + node * sd[:, None]))) for node in nodes]
    return np.asarray(np.tensordot(weights / weights.sum(), np.stack(of_node), axes=1).mean(axis=1))


def test_effects_over_a_population_of_groups_are_integrals(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    table = pd.read_csv(fitted["table"]).dropna(subset=["x"])
    draws, words = _draws(fitted["logistic"]), ("effects.of=t", "effects.groups=marginal")
    x, sides = table["x"].to_numpy(), []
    for drug in (0.0, 1.0):
        line = draws["Intercept"][:, None] + draws["x"][:, None] * x + (draws["t"] + draws["x:t"] * x) * drug
        sides.append(_marginal(line, draws["sd_clinic"].reshape(-1)))
    row = _asked(bayesrun, fitted, "logistic", *words).iloc[0]
    exact = sides[1] - sides[0]
    error = exact.std(ddof=1) / np.sqrt(1000)  # that of 1000 groups at every draw is much smaller than this
    assert row["mean"] == pytest.approx(exact.mean(), abs=2 * error)
    assert row["sd"] == pytest.approx(exact.std(ddof=1), rel=0.05)
    odds = [side / (1 - side) for side in sides]
    row = _asked(bayesrun, fitted, "logistic", *words, "effects.comparison=odds_ratio").iloc[0]
    assert row["mean"] == pytest.approx((odds[1] / odds[0]).mean(), rel=0.02)
    draws = _draws(fitted["wards"])
    exact = _marginal(draws["a"][:, None] + draws["b"][:, None] * x, draws["tau"])
    row = _asked(bayesrun, fitted, "wards", "effects.groups=marginal").iloc[0]
    assert row["mean"] == pytest.approx(exact.mean(), abs=0.004)
    assert row["sd"] == pytest.approx(exact.std(ddof=1), rel=0.05)
    one = _asked(bayesrun, fitted, "wards", "effects.groups=population").iloc[0]
    assert one["mean"] == pytest.approx(exact.mean(), abs=0.05) and one["sd"] > 1.5 * row["sd"]


def test_parameters_of_the_outcome_have_effects_of_their_own(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    table = pd.read_csv(fitted["table"]).dropna(subset=["x", "z"])
    draws, x = _draws(fitted["spread"]), table["x"].to_numpy()
    sides = [
        np.exp(draws["sigma_Intercept"][:, None] + draws["sigma_x"][:, None] * (x + more)).mean(axis=1)
        for more in (0, 1)
    ]
    words = ("effects.of=x", "effects.parameter=sigma", "effects.comparison=ratio")
    row = _asked(bayesrun, fitted, "spread", *words).iloc[0]
    assert row["mean"] == pytest.approx((sides[1] / sides[0]).mean())
    eta = _asked(bayesrun, fitted, "grades", "effects.of=x", "effects.parameter=eta").iloc[0]
    assert eta["mean"] == pytest.approx(_draws(fitted["grades"])["x"].mean())


def test_labels_that_are_numbers_are_labels(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    """A typical row of each site; a mean of site numbers is no site."""
    found = _asked(bayesrun, fitted, "grades", "effects.typical=true", "effects.by=site")
    assert sorted(found["site"]) == [10] * 3 + [20] * 3 + [30] * 3
    assert found.groupby("site")["mean"].sum().to_numpy() == pytest.approx(1)
    contrasts = _asked(bayesrun, fitted, "grades", "effects.of=site")["contrast"]
    assert set(contrasts) == {"20 - 10", "30 - 10"}


def test_rows_are_those_of_the_fit_or_are_refused(bayesrun: Command, fitted: Mapping[str, Path]) -> None:
    text = fitted["table"].read_text()
    given = ["task=effects", f"run={fitted['line']}", f"paths.outputs={fitted['outputs']}", "tracking=none"]
    try:
        table = pd.read_csv(fitted["table"])
        table.assign(z=table["z"] + 1).to_csv(fitted["table"], index=False)
        refused = bayesrun(*given)
        assert refused.returncode == 1
        assert "data: the data have changed since the run, so the rows of the fit are not known" in refused.stderr
        named = f"effects.data={{name: now, source: csv, path: {fitted['table']}}}"
        done = bayesrun(*given, named)
        assert done.returncode == 0, done.stderr
        assert "1 of 80 rows have missing values and are left out" in done.stdout
    finally:
        fitted["table"].write_text(text)


def test_levels_of_an_ordinal_outcome_have_probabilities_that_sum_to_one(
    bayesrun: Command, fitted: Mapping[str, Path]
) -> None:
    found = _asked(bayesrun, fitted, "grades")
    assert list(found["level"]) == ["low", "mid", "top"]
    assert found["mean"].sum() == pytest.approx(1)
    changes = _asked(bayesrun, fitted, "grades", "effects.of=x")
    assert changes["mean"].sum() == pytest.approx(0, abs=1e-12)
    assert changes["mean"].iloc[2] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["effects.of=dose"], "effects.of: the rows have no column 'dose'"),
        (["effects.of=z"], "effects.of: 'z' changes no expected value: the model does not use it"),
        (["effects.kind=slopes"], "effects.of: is required for slopes"),
        (["effects.of=t", "effects.kind=slopes"], "'t' is not a number, so there is no slope along it"),
        (["effects.of=x", "effects.at={x: 1}"], "effects.at: sets 'x', which effects.of changes"),
        (["effects.of=t", "effects.values=[ctrl,cure]"], "'cure'"),
        (["effects.of=x", "effects.values=[1]"], "needs two values"),
        (["effects.parameter=mu"], "effects.parameter: no outcome has a parameter 'mu' for each row"),
        (["sampler.draws=5"], "sampler.draws: belongs to the run"),
    ],
)
def test_what_can_not_be_asked_is_told(
    bayesrun: Command, fitted: Mapping[str, Path], words: list[str], said: str
) -> None:
    given = ["task=effects", f"run={fitted['logistic']}", f"paths.outputs={fitted['outputs']}", "tracking=none"]
    done = bayesrun(*given, *words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def penguins(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fit the body mass of penguins with a slope for each species."""
    folder = tmp_path_factory.mktemp("penguins")
    for name in ("model", "data"):
        (folder / name).mkdir()
    (folder / "data" / "penguins.yaml").write_text(
        f"name: penguins\nsource: csv\npath: {_PENGUINS}\ndrop_missing: rows\n"
    )
    head = "defaults: [{/data@_global_.data: penguins}, _self_]\nname: penguins\ntype: regression\nfigures: []\n"
    (folder / "model" / "mass.yaml").write_text(f"{head}formula: body_mass_g ~ flipper_length_mm * species + sex\n")
    short = ["sampler.draws=150", "sampler.tune=300", "sampler.chains=2", "tracking=none", "report=false"]
    done = bayesrun("--config-dir", folder, "model=mass", f"paths.outputs={folder / 'outputs'}", *short)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.rpartition("folder: ")[2].split("\n")[0].strip())


def _of_penguins(bayesrun: Command, run: Path, *words: str) -> Path:
    outputs = f"paths.outputs={run.parents[2]}"
    done = bayesrun("task=effects", f"run={run}", outputs, "tracking=none", *words)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().rpartition("folder: ")[2])


def test_comparisons_and_slopes_of_penguins_are_their_closed_forms(bayesrun: Command, penguins: Path) -> None:
    draws = _draws(penguins)
    extra = draws["flipper_length_mm:species"]
    slopes = {"Adelie": draws["flipper_length_mm"], "Chinstrap": draws["flipper_length_mm"] + extra[:, 0]}
    slopes["Gentoo"] = draws["flipper_length_mm"] + extra[:, 1]
    made = _of_penguins(bayesrun, penguins, "effects.of=flipper_length_mm", "effects.kind=slopes", "effects.by=species")
    table = pd.read_csv(made / "effects.csv", index_col="species")
    for species, slope in slopes.items():
        assert table.loc[species, "mean"] == pytest.approx(slope.mean(), rel=1e-6)
        assert table.loc[species, "sd"] == pytest.approx(slope.std(ddof=1), rel=1e-6)
    at = ("effects.of=species", "effects.at={flipper_length_mm: [190, 215]}")
    table = pd.read_csv(_of_penguins(bayesrun, penguins, *at) / "effects.csv")
    for place, species in enumerate(("Chinstrap", "Gentoo")):
        for length in (190, 215):
            row = table[(table["contrast"] == f"{species} - Adelie") & (table["flipper_length_mm"] == length)].iloc[0]
            difference = draws["species"].reshape(-1, 2)[:, place] + extra[:, place] * length
            assert row["mean"] == pytest.approx(difference.mean(), rel=1e-6)


def test_a_figure_is_drawn_where_it_is_asked_for(bayesrun: Command, penguins: Path) -> None:
    words = ("effects.at={flipper_length_mm: [180, 200, 220]}", "effects.by=[species,sex]")
    made = _of_penguins(bayesrun, penguins, *words, "effects.figure=true")
    assert (made / "figures" / "effects.png").stat().st_size > 10_000
    assert not (_of_penguins(bayesrun, penguins, "effects.of=sex") / "figures").exists()


def test_answers_about_a_finished_run_import_no_engine(bayesrun: Command, penguins: Path) -> None:
    outputs = (f"paths.outputs={penguins.parents[2]}", "tracking=none")
    rows = penguins.parents[2] / "new.csv"
    pd.read_csv(_PENGUINS).dropna().head(5).to_csv(rows, index=False)
    again = Path(shutil.copytree(penguins, penguins.parent / "again"))
    commands = {
        "effects": (f"run={penguins}", "effects.of=sex"),
        "predict": (f"run={penguins}", f"predict.data={{name: new, source: csv, path: {rows}}}"),
        "compare": (f"runs=[{penguins},{again}]", "compare.names=[one,again]"),
        "hypothesis": (f"run={penguins}", "Intercept > 0"),
    }
    for task, words in commands.items():
        done = bayesrun(f"task={task}", *words, *outputs, PYTHONPROFILEIMPORTTIME="1")
        assert done.returncode == 0, done.stderr
        imported = {
            line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")
        }
        assert "numpy" in imported, task
        found = {name.partition(".")[0] for name in imported} & {"pymc3", "theano", "arviz", "mlflow", "matplotlib"}
        assert not found, f"task={task} imports {found}"
