"""Blocks of fits: how many there are, and what the job of a block leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from bayesrun.config.hydra_internals import HydraParts
from bayesrun.errors import SamplingError
from bayesrun.jobs.blocks import BlockRecord, BlockRecords, Placement, _MakeBlock
from bayesrun.many_fits import FitCache

_SLURM = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"


def _place(folder: Path, processes: int, jobs: int) -> Placement:
    launcher = {"_target_": _SLURM, "array_parallelism": jobs}
    return Placement(folder, processes, HydraParts(OmegaConf.create({"hydra": {"launcher": launcher}}), None))


@pytest.mark.parametrize(
    ("fits", "processes", "jobs", "least", "expected"),
    [(200, 1, 64, 10, 20), (200, 4, 64, 10, 5), (200, 1, 8, 10, 8), (10, 1, 64, 1, 10), (3, 1, 64, 10, 1)],
)
def test_each_job_has_enough_fits_and_no_fit_has_two(
    tmp_path: Path, fits: int, processes: int, jobs: int, least: int, expected: int
) -> None:
    blocks = _place(tmp_path, processes, jobs).blocks(range(fits), least)
    assert len(blocks) == expected
    assert sorted(number for block in blocks for number in block) == list(range(fits))
    assert max(map(len, blocks)) - min(map(len, blocks)) <= 1


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[[Any], BlockRecord]]:
    """Run the job of two fits; returns its record."""
    before = HydraConfig.instance().cfg
    config = OmegaConf.create({"hydra": OmegaConf.structured(HydraConf)})
    config.hydra.sweep.subdir = "0"
    HydraConfig.instance().set_config(config)
    records = BlockRecords(tmp_path / "jobs", {0: (3, 5)})

    def run(prepare: Any) -> BlockRecord:
        _MakeBlock(prepare, FitCache(tmp_path / "mine"), records, 1)(OmegaConf.create())
        found = records.read(0)
        assert found is not None
        return found

    yield run
    HydraConfig.instance().cfg = before


def _odd(number: int) -> dict[str, np.ndarray]:
    if number == 5:
        raise SamplingError("no chain made a draw")
    return {"number": np.array([number])}


def test_a_job_keeps_its_fits_and_records_those_that_failed(tmp_path: Path, job: Callable[[Any], BlockRecord]) -> None:
    record = job(lambda: (_odd, FitCache(tmp_path / "mine")))
    assert (record.status, record.error, record.failed) == ("finished", None, {"5": "no chain made a draw"})
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["3.npz"]


def test_a_job_whose_fits_would_be_others_makes_none(tmp_path: Path, job: Callable[[Any], BlockRecord]) -> None:
    """Other versions of packages are other fits; a command would mix them with its own."""
    record = job(lambda: (_odd, FitCache(tmp_path / "theirs")))
    assert record.status == "failed"
    assert "the fits would not be those of the command (theirs instead of mine)" in str(record.error)
    assert not (tmp_path / "mine").exists() and not (tmp_path / "theirs").exists()


def test_a_job_that_can_not_prepare_says_why(job: Callable[[Any], BlockRecord]) -> None:
    def prepare() -> Any:
        raise FileNotFoundError("rows.csv")

    assert job(prepare).error == "FileNotFoundError: rows.csv"
