"""What makes two runs the same."""

import json

from bayesrun.sweeps.base import Record
from bayesrun.sweeps.reuse import Identity, changes, find_equal, read_finished
from bayesrun.sweeps.sweep_folder import write_record

WANTED = Identity("config", "data", "code", {"numpy": "1.22.1"})


def record(**changed):
    return {
        "config_digest": "config",
        "data_digest": "data",
        "code_digest": "code",
        "packages": {"numpy": "1.22.1"},
        "ended": "2026-01-01",
        **changed,
    }


def make_run(outputs, name, status="finished", **changed):
    folder = outputs / "runs" / "2026-01-01" / name
    folder.mkdir(parents=True)
    (folder / "provenance.json").write_text(json.dumps(record(**changed)))
    (folder / "status.json").write_text(json.dumps({"status": status}))
    return folder


def test_only_an_equal_finished_run_stands_for_a_job(tmp_path):
    make_run(tmp_path, "other_data", data_digest="x")
    make_run(tmp_path, "half_done", status="running")
    make_run(tmp_path, "stopped", status="partial")
    make_run(tmp_path, "broken", status="failed")
    assert find_equal(WANTED, read_finished(tmp_path)) is None
    folder = make_run(tmp_path, "same")
    assert find_equal(WANTED, read_finished(tmp_path)).folder == folder


def test_the_newest_is_taken(tmp_path):
    make_run(tmp_path, "a", ended="2026-01-02")
    newest = make_run(tmp_path, "b", ended="2026-01-03")
    make_run(tmp_path, "c", ended="2026-01-01")
    assert find_equal(WANTED, read_finished(tmp_path)).folder == newest


def test_files_that_can_not_be_read_are_passed_over(tmp_path):
    (make_run(tmp_path, "cut") / "provenance.json").write_text("{")
    assert read_finished(tmp_path) == []


def test_a_job_killed_while_it_was_tracked_is_not_done(tmp_path):
    sweep = tmp_path / "sweeps" / "2026-01-01" / "one"
    sweep.mkdir(parents=True)
    folder = make_run(tmp_path, "killed").rename(sweep / "1")  # its files say that it is finished
    write_record(sweep, Record(0, "a=0", {"a": "0"}, status="finished"))
    assert read_finished(tmp_path) == []
    write_record(sweep, Record(1, "a=1", {"a": "1"}, status="failed", error="its process died"))
    assert read_finished(tmp_path) == []
    write_record(sweep, Record(1, "a=1", {"a": "1"}, status="finished"))
    assert [run.folder for run in read_finished(tmp_path)] == [folder]


def test_what_changed_is_said():
    new = Identity("config", "other", "code", {"numpy": "1.23", "scipy": "1.7"})
    assert changes(WANTED, new) == "data changed, numpy 1.22.1 -> 1.23, scipy absent -> 1.7"
    assert changes(WANTED, Identity("x", "data", "y", {"numpy": "1.22.1"})) == "config changed, code changed"
    assert changes(WANTED, WANTED) == ""
