"""A run's folder belongs to one run, also when several start in the same second; its files are written whole."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from bayesrun import run_folder
from bayesrun.errors import OutputError
from bayesrun.run_folder import RunFolder, check_place, dead_runs, forget, remove_if_empty, under_way


def _claim(wanted: Path, barrier, found) -> None:  # type: ignore[no-untyped-def]
    barrier.wait()
    found.put(str(RunFolder.claim(wanted).path))


def test_eight_processes_at_the_same_moment_get_eight_folders(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        wanted, found, barrier = tmp_path / f"day{attempt}" / "run", context.Queue(), context.Barrier(8)
        processes = [context.Process(target=_claim, args=(wanted, barrier, found)) for _ in range(8)]
        for process in processes:
            process.start()
        names = {Path(found.get(timeout=240)).name for _ in processes}
        for process in processes:
            process.join()
        assert names == {"run", *(f"run_{i}" for i in range(2, 9))}


def test_a_folder_that_hydra_made_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert RunFolder.claim(tmp_path / "run").path == tmp_path / "run"
    assert RunFolder.claim(tmp_path / "run").path == tmp_path / "run_2"


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    folder = RunFolder.claim(tmp_path / "run")
    folder.write_text("a.txt", "before")

    def breaks(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        folder.write("a.txt", breaks)
    with pytest.raises(RuntimeError):
        folder.write("b.txt", breaks)
    assert (folder.path / "a.txt").read_text() == "before"
    assert {p.name for p in folder.path.iterdir()} == {"a.txt", "run.log"}


def test_files_can_be_read_by_others_and_lie_in_folders(tmp_path: Path) -> None:
    folder = RunFolder.claim(tmp_path / "run")
    path = folder.write_text("figures/a.txt", "x")
    assert path.parent == folder.figures
    assert path.stat().st_mode & 0o777 == 0o644


def test_json_holds_no_number_that_json_lacks(tmp_path: Path) -> None:
    folder = RunFolder.claim(tmp_path / "run")
    content = {"a": float("nan"), "b": [float("inf"), 1.5, (-float("inf"),)], "c": {"d": 1e-300}, 3: Path("x")}
    folder.write_json("metrics.json", content)
    text = (folder.path / "metrics.json").read_text()
    assert json.loads(text) == {"a": None, "b": [None, 1.5, [None]], "c": {"d": 1e-300}, "3": "x"}


def test_status(tmp_path: Path) -> None:
    folder = RunFolder.claim(tmp_path / "run")
    folder.write_status("failed", None, "SamplingError: no")
    found = json.loads((folder.path / "status.json").read_text())
    assert found == {"status": "failed", "verdict": None, "error": "SamplingError: no"}


def test_an_interrupt_while_a_run_is_noted_leaves_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_folder, "sync_folder", interrupt)
    with pytest.raises(KeyboardInterrupt), under_way(tmp_path, tmp_path / "run"):
        raise AssertionError("not reached")
    assert not list(tmp_path.rglob("*.json"))


def test_a_run_that_ends_in_order_is_not_taken_for_a_dead_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its note is read, then it ends, and then its process is looked for."""
    (tmp_path / "run").mkdir()
    with under_way(tmp_path, tmp_path / "run"):

        def ends_meanwhile(label: str) -> str:
            forget(tmp_path, tmp_path / "run")
            return "ended"

        monkeypatch.setattr(run_folder, "process_state", ends_meanwhile)
        assert dead_runs(tmp_path) == []


def test_an_unused_folder_goes_with_its_empty_parents_only(tmp_path: Path) -> None:
    unused, used = tmp_path / "a/b/c/d/e", tmp_path / "a/b/x"
    unused.mkdir(parents=True)
    used.mkdir()
    remove_if_empty(unused)
    assert used.is_dir()
    assert not (tmp_path / "a/b/c").exists()
    (used / "file").touch()
    remove_if_empty(used)
    assert used.is_dir()


def test_a_place_whose_name_is_too_long_is_told(tmp_path):
    with pytest.raises(OutputError, match="File name too long"):
        check_place(tmp_path / ("n" * 5000) / "run")
