"""Outputs that can't be written: one message and status 1, before sampling where it can be known."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Command

RUN = ("model=linear_regression", "sampler.tune=100", "sampler.chains=2", "tracking=none", "model.figures=[]")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1.2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1200k", "none", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("only root can mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


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
