"""Flat params, and passwords that are never written."""

from bayesrun.tracking.base import TRACKERS, TrackingSpec, flatten


def test_params_are_flat_with_lists_and_nulls_as_json():
    config = {"model": {"priors": {"rate": {"lam": 0.5}}, "figures": ["a"], "options": {}}, "seed": None, "on": True}
    assert flatten(config) == {
        "model.priors.rate.lam": "0.5",
        "model.figures": '["a"]',
        "model.options": "{}",
        "seed": "null",
        "on": "true",
    }


def test_passwords_are_left_out_of_params():
    assert flatten({"uri": "http://u:pw@h"}) == {"uri": "http://***@h"}


def test_both_backends_are_registered():
    assert TRACKERS.names() == ["mlflow", "none"]
    assert TRACKERS.load("none", "tracking.backend").check(TrackingSpec(backend="none")) == []


def test_a_file_store_is_refused():
    check = TRACKERS.load("mlflow", "tracking.backend").check
    assert check(TrackingSpec(uri="./mlruns"))[0][0] == "uri"
    assert check(TrackingSpec())[0][0] == "uri"
    assert check(TrackingSpec(uri="http://h")) == []
