"""How effects are laid out: a line over a number, colours and panels for what else varies."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bayesrun.diagnostics.numerics.densities import hdi
from bayesrun.figures.estimated_effects import EstimatedEffect, drawn

RNG = np.random.default_rng(2)


def test_a_number_is_the_axis_and_groups_are_colours_and_panels() -> None:
    found = [
        EstimatedEffect({"variable": "y", "species": s, "sex": sex, "x": x}, RNG.normal(x, 1, 300))
        for s, sex, x in product("ABC", ("f", "m"), (1.0, 2.0, 4.0))
    ]
    figure = drawn("title", "average prediction", found, 0.9, None)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["sex = f", "sex = m"]
    assert {ax.get_xlabel() for ax in figure.axes} == {"x"}
    lines = figure.axes[1].lines
    assert [str(line.get_label()) for line in lines] == ["species = A", "species = B", "species = C"]
    assert np.allclose(lines[2].get_ydata(), [found[i].draws.mean() for i in (15, 16, 17)])
    assert len({ax.get_ylim() for ax in figure.axes}) == 1


def test_labels_have_points_with_intervals_and_no_effect_is_marked() -> None:
    found = [EstimatedEffect({"contrast": c, "variable": "y"}, RNG.normal(size=400)) for c in ("b - a", "c - a")]
    (ax,) = drawn("title", "average difference", found, 0.9, 0.0).axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["b - a", "c - a"]
    assert ax.lines[0].get_ydata()[0] == 0.0
    outer = ax.collections[0].get_segments()
    assert [segment[:, 1] for segment in outer][1] == pytest.approx(hdi(found[1].draws, 0.9))
