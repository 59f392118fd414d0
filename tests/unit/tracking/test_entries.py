"""Names, tags and the description that a run folder turns into."""

import json
import posixpath
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesrun.tracking.entries import clean_metrics, metric_names, read_entries, scalar_metrics


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("mean/theta[A]", "mean/theta.A"),
        ("mean/theta[a, b]", "mean/theta.a. b"),
        ("sd/C(g)[T.b]:x", "sd/C.g.T.b.:x"),
        ("r_hat_max", "r_hat_max"),
        ("mean/a//b", "mean/a/_/b"),
        ("mean/..", "mean/_"),
        ("mean/höhe", "mean/höhe"),
    ],
)
def test_refused_characters_become_one_dot(raw, clean):
    assert metric_names([raw]) == {raw: clean}


def test_a_collision_is_numbered():
    names = metric_names(["mean/a[1]", "mean/a(1)", "mean/a{1}"])
    assert list(names.values()) == ["mean/a.1", "mean/a.1_2", "mean/a.1_3"]


@given(st.lists(st.text(max_size=30), unique=True, max_size=20))
def test_every_name_is_one_that_mlflow_takes(raw):
    names = list(metric_names([f"mean/{r}" for r in raw]).values())
    assert len(set(names)) == len(raw)
    for name in names:
        assert re.fullmatch(r"[/\w.\- :]+", name)
        assert posixpath.normpath(name) == name
        assert not name.startswith(("..", "/"))


def test_what_is_not_finite_is_left_out():
    assert clean_metrics({"a": 1, "b": float("nan"), "c": float("inf"), "d": None, "e": "x"}) == {"a": 1.0}


def test_at_most_100_scalars():
    rows = [{"name": f"x[{i}]", "mean": "1.5", "sd": ""} for i in range(150)]
    assert len(scalar_metrics(rows)) == 200


def test_an_empty_folder_has_no_metrics(tmp_path):
    entries = read_entries(tmp_path)
    assert entries.metrics == {}
    assert "verdict: none" in entries.tags["mlflow.note.content"]


def test_a_run_folder_is_read(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"r_hat_max": 1.02}))
    (tmp_path / "summary.csv").write_text("name,mean,sd,r_hat\ntheta[A],1.25,0.5,1.02\n")
    (tmp_path / "status.json").write_text(json.dumps({"status": "finished", "verdict": "warn", "error": None}))
    finding = {"check": "r_hat", "severity": "warn", "variable": "theta[A]", "message": "too high", "remedy": "go on"}
    (tmp_path / "findings.json").write_text(json.dumps([finding]))
    entries = read_entries(tmp_path)
    assert entries.metrics == {"r_hat_max": 1.02, "mean/theta.A": 1.25, "sd/theta.A": 0.5}
    assert entries.tags["verdict"] == "warn"
    assert entries.tags["status"] == "finished"
    note = entries.tags["mlflow.note.content"]
    assert "`theta[A]`: too high *go on*" in note
    assert "| theta[A] | 1.25 | 0.5 |" in note
