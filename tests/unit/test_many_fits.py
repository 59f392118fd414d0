"""Many fits of one task: each is kept, none is made twice, and a killed process costs none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from bayesrun.errors import SamplingError
from bayesrun.many_fits import FitCache, fit_all

NUMBERS = range(6)


@pytest.fixture
def cache(tmp_path: Path) -> FitCache:
    return FitCache.of(tmp_path, "task", {"config": "one"})


def _square(number: int) -> dict[str, NDArray[np.float64]]:
    return {"square": np.array([float(number**2)])}


@pytest.mark.parametrize("processes", [1, 3])
def test_all_fits_are_made_in_order_and_told(cache: FitCache, processes: int) -> None:
    told: list[int] = []
    fits = fit_all(NUMBERS, _square, cache, processes, told.append)
    assert [float(fit["square"][0]) for fit in fits.made.values()] == [n**2 for n in NUMBERS]
    assert list(fits.made) == list(NUMBERS)
    assert (fits.reused, fits.failed, fits.interrupted) == (0, {}, False)
    assert told == list(range(len(NUMBERS) + 1))


def test_what_is_there_is_not_made_again(cache: FitCache, tmp_path: Path) -> None:
    fit_all(range(4), _square, cache, 2)
    made = tmp_path / "made"

    def note(number: int) -> dict[str, NDArray[np.float64]]:
        with made.open("a") as file:
            file.write(f"{number}\n")
        return _square(number)

    (cache.folder / "2.npz").write_bytes(b"broken")
    fits = fit_all(NUMBERS, note, cache, 2)
    assert sorted(made.read_text().split()) == ["2", "4", "5"]
    assert fits.reused == 3 and list(fits.made) == list(NUMBERS)


def test_another_identity_has_another_cache(tmp_path: Path) -> None:
    folders = {FitCache.of(tmp_path, "task", {"config": one}).folder for one in ("one", "two", "one")}
    assert len(folders) == 2


def test_a_fit_that_fails_leaves_the_others(cache: FitCache) -> None:
    def fail_one(number: int) -> dict[str, NDArray[np.float64]]:
        if number == 3:
            raise SamplingError("no chain made a draw")
        return _square(number)

    fits = fit_all(NUMBERS, fail_one, cache, 2)
    assert fits.failed == {3: "no chain made a draw"}
    assert list(fits.made) == [0, 1, 2, 4, 5]


def test_a_killed_process_is_replaced_and_its_fit_made_again(cache: FitCache, tmp_path: Path) -> None:
    def killed(number: int) -> dict[str, NDArray[np.float64]]:
        first = tmp_path / f"killed_{number}"
        if number == 4 or (number == 1 and not first.exists()):
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return _square(number)

    fits = fit_all(NUMBERS, killed, cache, 2)
    assert fits.failed == {4: "its process was killed by signal 9, twice"}
    assert list(fits.made) == [0, 1, 2, 3, 5]


_PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
from bayesrun.many_fits import FitCache, fit_all

def slow(number):
    time.sleep(0.3)
    return {"number": np.array([number])}

fits = fit_all(range(50), slow, FitCache(Path(sys.argv[1])), 2)
print(fits.interrupted, len(fits.made))
"""


def _begin(cache: FitCache) -> subprocess.Popen[str]:
    """Start fits in a process of their own; return when one is made and both workers are there."""
    program = subprocess.Popen([sys.executable, "-c", _PROGRAM, str(cache.folder)], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if list(cache.folder.glob("[0-9]*.npz")) and len(psutil.Process(program.pid).children()) == 2:
            break
        time.sleep(0.05)
    return program


def test_a_kill_of_the_command_loses_no_fit_and_leaves_no_process(cache: FitCache) -> None:
    program = _begin(cache)
    workers = psutil.Process(program.pid).children(recursive=True)
    assert len(workers) == 2
    program.kill()
    program.wait()
    _, alive = psutil.wait_procs(workers, timeout=240)
    assert not alive
    before = len(list(cache.folder.glob("[0-9]*.npz")))
    fits = fit_all(range(before), _square, cache, 2)
    assert fits.reused == before


def test_an_interrupt_keeps_what_is_made(cache: FitCache) -> None:
    program = _begin(cache)
    program.send_signal(signal.SIGINT)
    said, _ = program.communicate(timeout=300)
    interrupted, made = said.split()
    assert interrupted == "True" and 0 < int(made) < 50
