"""Outputs that can't be written: one message and status 1, before sampling where it can be known."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bayesrun.samplers.draw_store import read_draws
from tests.conftest import Command
from tests.faults.bench import LEAN
from tests.faults.judging import posterior, shape_of, stored_draws
from tests.faults.started_run import StartedRun, wait_until

RUN = ("model=linear_regression", "sampler.tune=100", "sampler.chains=2", "tracking=none", "model.figures=[]")


@contextmanager
def _mounted(folder: Path, kilobytes: int) -> Iterator[Path]:
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("only root can mount")
    try:
        yield folder
    finally:
        for _ in range(50):  # a compiler that was told to end may still hold a file
            if subprocess.run(["umount", str(folder)], check=False).returncode == 0:
                break
            time.sleep(0.2)
        else:
            raise AssertionError(f"something still uses {folder}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1.2 MB."""
    with _mounted(tmp_path / "disk", 1200) as folder:
        yield folder


def _fill(file: Path) -> None:
    """Fill the disk of a new file."""
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


def _is_told(done: subprocess.CompletedProcess[str], said: str) -> None:
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("error:") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert said in done.stderr
    assert "paths.outputs=FOLDER" in done.stderr


@pytest.mark.parametrize("below", ["", "/deep/down"])
@pytest.mark.parametrize("sweep", [(), ("-m", "seed=1,2")], ids=["run", "sweep"])
def test_outputs_that_are_a_file(bayesrun: Command, tmp_path: Path, below: str, sweep: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("kept")
    done = bayesrun(*sweep, *RUN, "sampler.draws=100", f"paths.outputs={tmp_path}/file{below}")
    _is_told(done, "can't be written there")
    assert "verdict" not in done.stdout
    assert (tmp_path / "file").read_text() == "kept"


def test_outputs_that_are_read_only(bayesrun: Command, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = bayesrun(*RUN, "sampler.draws=100", f"paths.outputs={disk}/out")
    _is_told(done, "can't be written there")
    assert "verdict" not in done.stdout


def test_a_disk_that_is_too_small_is_told_before_sampling(bayesrun: Command, disk: Path) -> None:
    (disk / "full").write_bytes(os.urandom(600_000))
    done = bayesrun(*RUN, "sampler.draws=10000", f"paths.outputs={disk}/out")
    _is_told(done, "the run needs 1 MB at least")
    assert not (disk / "out").exists()


def test_a_disk_that_fills_up_is_told_once(bayesrun: Command, disk: Path) -> None:
    done = bayesrun(*RUN, "sampler.draws=10000", "store.compression=0", f"paths.outputs={disk}/out")
    _is_told(done, "disk")
    (status,) = disk.glob("out/runs/*/*/status.json")
    assert json.loads(status.read_text())["status"] in ("failed", "partial")


@pytest.mark.parametrize("free", [0, 300_000], ids=["full", "almost full"])
def test_a_full_disk_of_the_compile_cache_is_told(bayesrun: Command, disk: Path, tmp_path: Path, free: int) -> None:
    (disk / "room").write_bytes(b"x" * free)
    _fill(disk / "filler")
    (disk / "room").unlink()
    words = [*RUN, "sampler.draws=100", f"paths.outputs={tmp_path}/out"]
    done = bayesrun(*words, THEANO_FLAGS=f"base_compiledir={disk}/cache")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1, done.stderr
    assert f"can't be compiled: No space left on device (Theano's compile cache {disk}/cache" in done.stderr
    assert "THEANO_FLAGS=base_compiledir=FOLDER" in done.stderr


def test_chains_that_take_smaller_steps_need_no_room_for_a_second_run(bayesrun: Command, tmp_path: Path) -> None:
    """A few of the draws diverge, and the disk has room for the draws of one run and `posterior.nc`."""
    size = ["sampler.draws=20000", "sampler.tune=500", "sampler.chains=2", "sampler.progress=false", "report=false"]
    size.append("store.variables=[mu,tau]")  # `posterior.nc` needs less than the stored draws
    size.append("~model.priors.tau.transform")  # by the logarithm a few draws diverge
    with _mounted(tmp_path / "disk", 11_000) as disk:
        done = bayesrun("model=eight_schools", *size, *LEAN, "tracking=none", f"paths.outputs={disk}")
        assert done.returncode == 0, done.stderr
        assert re.search(r"took smaller steps after \d+ divergence", done.stdout)
        (status,) = disk.glob("runs/*/*/status.json")
        assert json.loads(status.read_text())["status"] == "finished"
        assert shape_of(posterior(status.parent)) == (2, 20_000)
        assert not (status.parent / "draws").exists()


def _draws(run: StartedRun) -> int:
    folder = run.folder()
    return sum(stored_draws(folder).values()) if folder else 0


def test_a_run_is_recovered_once_there_is_room_again(bayesrun: Command, tmp_path: Path) -> None:
    model = (
        "model=switchpoint",
        "model.options.form=compound",
        "sampler.draws=30000",
        "sampler.tune=500",
        "tracking=none",
    )
    with _mounted(tmp_path / "disk", 9_000) as disk:
        run = StartedRun([*model, *LEAN, "sampler.chains=2"], disk, {})
        try:
            assert wait_until(lambda: _draws(run) > 4000, run), run.output
        finally:
            run.clean_up()
        folder = run.folder()
        assert folder is not None
        _fill(disk / "filler")
        here = f"paths.outputs={disk}"
        done = bayesrun("task=recover", here, f"run={folder}")
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert "can't be recovered now" in done.stdout
        assert read_draws(folder / "draws") is not None
        (disk / "filler").unlink()
        done = bayesrun("task=recover", here)
        assert done.returncode == 0, done.stderr
        assert "recovered" in done.stdout
        assert json.loads((folder / "status.json").read_text())["status"] == "partial"
