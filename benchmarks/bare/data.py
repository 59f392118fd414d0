"""The data of all bare scripts, read with NumPy alone so that every library's environment can."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "data"


def column(file: str, name: str) -> np.ndarray:
    """Return a column of a CSV file as numbers; an empty cell is NaN."""
    with (DATA / file).open() as lines:
        return np.array([float(row[name] or "nan") for row in csv.DictReader(lines)])


def regression() -> dict[str, np.ndarray]:
    """Return the tutorial's simulated data, by its own calls."""
    random = np.random.RandomState(8927)
    x1, x2 = random.randn(100), random.randn(100) * 0.2
    return {"X1": x1, "X2": x2, "Y": 1 + x1 + 2.5 * x2 + random.randn(100)}


def logistic() -> dict[str, np.ndarray]:
    """Return whether Y is above its median, and X1."""
    data = regression()
    return {"X1": data["X1"], "Y": (data["Y"] > np.median(data["Y"])).astype(int)}


def schools() -> dict[str, np.ndarray]:
    """Return effects and standard errors of the eight schools."""
    return {
        "y": np.array([28.0, 8, -3, 7, -1, 1, 18, 12]),
        "stderr": np.array([15.0, 10, 16, 11, 9, 11, 10, 18]),
    }


def disasters() -> dict[str, np.ndarray]:
    """Return years and counts; two counts are NaN."""
    return {"year": column("mining_disasters.csv", "year"), "count": column("mining_disasters.csv", "n_disasters")}


def returns() -> np.ndarray:
    """Return the S&P 500's daily changes."""
    return column("sp500.csv", "change")


def garch_returns() -> np.ndarray:
    """Return 200 simulated returns with changing volatility."""
    return column("garch_mean.csv", "y")


def chain() -> np.ndarray:
    """Return what was observed of a simulated hidden Markov chain."""
    return column("hmm.csv", "y")
