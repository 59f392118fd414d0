"""Series over irregular dates with missing values, sampled by the real command, against their exact posterior."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from tests.conftest import Command, only_run

WITHIN = 4.0
"""Monte Carlo standard errors that a sampled mean or sd may be away from the exact one."""
SIGMA, DRIFT, NOISE, START = 0.8, 0.1, 0.5, (1.0, 3.0)
RHO, INNOVATION, INIT = (0.3, 0.7), 0.9, 2.0
FORMS = ("centered", "noncentered", "whitened")
DAYS = np.array([0, 1, 2, 9, 10, 11.25, 40, 41, 45, 46, 47, 60])
MISSING = {"y": [3, 11], "a": [0, 4, 5, 11]}


def _conditioned(mean: np.ndarray, covariance: np.ndarray, noise: float, seen: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return means and sds of Gaussian points of which some are observed (NaN: not), with noise."""
    known = ~np.isnan(seen)
    gain = covariance[:, known] @ np.linalg.inv(covariance[np.ix_(known, known)] + noise**2 * np.eye(known.sum()))
    after = covariance - gain @ covariance[known]
    return mean + gain @ (seen - mean)[known], np.sqrt(np.maximum(np.diag(after), 0))


def _walk() -> tuple[np.ndarray, np.ndarray]:
    sums = np.tril(np.ones((len(DAYS), len(DAYS))))
    steps = np.diff(DAYS)
    mean = sums @ np.concatenate([[START[0]], DRIFT * steps])
    return mean, sums @ np.diag(np.concatenate([[START[1] ** 2], SIGMA**2 * steps])) @ sums.T


def _autoregression() -> tuple[np.ndarray, np.ndarray]:
    size = len(DAYS)
    inverse = np.linalg.inv(np.eye(size) - RHO[1] * np.eye(size, k=-1))
    mean = inverse @ np.concatenate([[0.0], np.full(size - 1, RHO[0])])
    return mean, inverse @ np.diag([INIT**2, *[INNOVATION**2] * (size - 1)]) @ inverse.T


def _config(folder: Path, columns: dict[str, np.ndarray]) -> None:
    dates = pd.Timestamp("2024-11-01") + pd.to_timedelta(DAYS, unit="D")
    order = np.random.default_rng(1).permutation(len(DAYS))
    values = {"ts": [str(d) for d in dates[order]]}
    values |= {n: [None if np.isnan(v) else float(v) for v in column[order]] for n, column in columns.items()}
    walk = {"dist": "GaussianRandomWalk", "mu": DRIFT, "sigma": SIGMA, "steps": "days(ts)", "dims": ["ts"]}
    walk["init"] = {"dist": "Normal", "mu": START[0], "sigma": START[1]}
    ar = {"dist": "AR", "rho": list(RHO), "sigma": INNOVATION, "constant": True, "observed": "a"}
    ar |= {"init": {"dist": "Normal", "mu": 0, "sigma": INIT}, "steps": "arange(n_ts)"}
    model = {
        **{"name": "series", "type": "declarative", "priors": {f: {**walk, "parameterization": f} for f in FORMS}},
        "likelihood": {
            **{f"{f}_obs": {"dist": "Normal", "mu": f, "sigma": NOISE, "observed": "y"} for f in FORMS},
            "a_obs": ar,
        },
    }
    data = {"name": "series", "source": "inline", "values": values, "dim": "ts", "parse_dates": ["ts"]}
    for group, content in (("model", model), ("data", data)):
        (folder / group).mkdir(parents=True)
        (folder / group / "series.yaml").write_text(yaml.safe_dump(content))


def test_walks_by_dates_and_an_autoregression_with_missing_values(bayesrun: Command, tmp_path: Path) -> None:
    """The rows of the file are out of order; both columns have missing values, of the ends as well."""
    rng = np.random.default_rng(7)
    walk, autoregression = _walk(), _autoregression()
    y = rng.multivariate_normal(*walk) + NOISE * rng.normal(size=len(DAYS))
    a = rng.multivariate_normal(*autoregression)
    y[MISSING["y"]], a[MISSING["a"]] = np.nan, np.nan
    _config(tmp_path / "conf", {"y": y, "a": a})
    done = bayesrun(
        *("--config-dir", tmp_path / "conf", "model=series", "data=series", "sampler.draws=1000", "sampler.chains=2"),
        *("tracking=none", "model.figures=[]", f"paths.outputs={tmp_path / 'out'}"),
    )
    assert done.returncode == 0, done.stderr
    summary = pd.read_csv(only_run(tmp_path / "out") / "summary.csv", index_col="name")
    exact = {form: (_conditioned(*walk, NOISE, y), range(len(DAYS))) for form in FORMS}
    exact["a_obs_missing"] = _conditioned(*autoregression, 0.0, a), MISSING["a"]
    for name, ((means, sds), places) in exact.items():
        rows = summary[summary.index.str.startswith(f"{name}[")]
        assert len(rows) == len(places)
        for row, place in zip(rows.itertuples(), places, strict=True):
            assert abs(row.mean - means[place]) < WITHIN * row.mcse_mean, (row.Index, row.mean, means[place])
            # draws may alternate around the mean, which makes means precise, and sds not
            error = sds[place] / np.sqrt(2 * min(row.ess_bulk, row.ess_tail))
            assert abs(row.sd - sds[place]) < WITHIN * error, (row.Index, row.sd, sds[place])
