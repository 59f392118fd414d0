"""What holds for every registered figure."""

from __future__ import annotations

import struct
from pathlib import Path

import arviz as az
import matplotlib
import numpy as np
import pandas as pd
import pytest
import yaml

from bayesrun.figures.base import FIGURES, NotDrawable, Subject

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.mark.parametrize("name", FIGURES.names())
def test_every_figure_is_shown_in_the_docs(name: str) -> None:
    text = (DOCS / "figures.md").read_text()
    assert f"| `{name}` |" in text and f"(figures/{name}.png)" in text
    picture = (DOCS / "figures" / f"{name}.png").read_bytes()
    assert len(picture) < 80_000
    width, _ = struct.unpack(">II", picture[16:24])
    assert width >= 600, "too small to be read"


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_models_name_figures_that_there_are(path: Path) -> None:
    named = yaml.safe_load(path.read_text()).get("figures") or []
    assert set(named) <= set(FIGURES.names())
    assert len(named) == len(set(named))


@pytest.mark.parametrize("name", FIGURES.names())
def test_a_posterior_without_anything_else_is_drawn_or_refused(name: str) -> None:
    draws = np.random.default_rng(1).normal(size=(2, 50))
    before = dict(matplotlib.rcParams)
    subject = Subject(az.from_dict(posterior={"a": draws}), pd.DataFrame({"r_hat": [1.0]}, index=["a"]), {"name": "m"})
    try:
        figure = FIGURES.load(name, "model.figures").draw(subject)
    except NotDrawable as reason:
        assert str(reason)
    else:
        assert figure.get_axes()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", FIGURES.names())
def test_draws_that_are_not_finite_or_constant_do_no_harm(name: str) -> None:
    values = np.full((2, 50), np.nan)
    values[:, ::2] = 1.0
    idata = az.from_dict(
        posterior={"gaps": values, "constant": np.ones((2, 50)), "none": np.full((2, 50), np.nan)},
        prior={"gaps": values, "constant": np.ones((1, 50)), "none": np.full((1, 50), np.nan)},
        sample_stats={"energy": np.ones((2, 50)), "diverging": np.ones((2, 50), bool)},
        posterior_predictive={"y": np.ones((2, 50, 3))},
        observed_data={"y": np.ones(3)},
    )
    summary = pd.DataFrame({"r_hat": [np.nan, 1.0, np.nan]}, index=["gaps", "constant", "none"])
    try:
        figure = FIGURES.load(name, "model.figures").draw(Subject(idata, summary, {"name": "m"}))
    except NotDrawable:
        return
    figure.canvas.draw()
