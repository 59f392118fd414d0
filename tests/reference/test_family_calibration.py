"""Every family of regressions is calibrated: the ranks of true parameters among posterior draws are uniform."""

from __future__ import annotations

import logging

import pytest

from bayesrun.engines.pymc3.theano_setup import import_pymc3
from bayesrun.models.regression.families import FAMILY_TABLE
from tests.reference.family_calibration import calibrate

pytest.importorskip("nutpie")
pytestmark = pytest.mark.slow

FITS = 40
LEVEL = 0.05 / (6 * len(FAMILY_TABLE))  # of one parameter, so that all pass with a probability of 95% or more


@pytest.mark.parametrize("family", FAMILY_TABLE)
def test_ranks_of_the_truth_are_uniform(family: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "bayesrun")  # each fit says how it is sampled
    import_pymc3()
    found = calibrate(family, FITS)
    assert {"sd_g", "r_g"} < set(found) or family in ("categorical", "multinomial")
    assert min(one.p_value for one in found.values()) > LEVEL, found


def test_a_wrong_likelihood_is_seen() -> None:
    import_pymc3()
    assert calibrate("normal", FITS, generator="student")["sigma"].p_value < LEVEL
