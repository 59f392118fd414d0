"""Figures of draws alone are drawn while a run predicts; who draws which does not matter, and each is drawn once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bayesrun.figures.base import NotDrawn, Outcome, Subject
from bayesrun.figures.drawing import attempt, draw_all
from bayesrun.figures.early import OF_DRAWS, EarlyFigures, drawing_early

NAMES = ["scatter", "forest", "rank", "trace", "energy"]
OF_THEM = [name for name in OF_DRAWS if name in NAMES]


def _wait_for(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 300
        time.sleep(0.01)


def _early(subject: Subject, folder: Path, draw: Any = attempt, processes: int = 2) -> Any:
    return drawing_early(NAMES, subject.idata, subject.model, subject.interval, folder, processes, draw)


def test_what_is_drawn_early_is_what_is_drawn_late(regression: Subject, tmp_path: Path) -> None:
    with _early(regression, tmp_path / "early") as early:
        _wait_for(lambda: all((tmp_path / "early" / f"{name}.png").exists() for name in OF_THEM))
        done, reasons = draw_all(NAMES, regression, tmp_path / "early", 2, early=early)
        assert early.taken == OF_THEM
    late, reasons_late = draw_all(NAMES, regression, tmp_path / "late")
    assert (reasons, [path.name for path in done]) == (reasons_late, [path.name for path in late])
    assert [path.read_bytes() for path in done] == [path.read_bytes() for path in late]


def test_each_figure_is_drawn_once(regression: Subject, tmp_path: Path) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go_on"

    def slowly(name: str, subject: Subject, folder: Path) -> Outcome:
        begun.touch()
        _wait_for(go_on.exists)
        return attempt(name, subject, folder)

    with _early(regression, tmp_path / "figures", slowly) as early:
        _wait_for(begun.exists)  # it has taken the first one
        done, reasons = draw_all(NAMES, regression, tmp_path / "figures", 2, meanwhile=go_on.touch, early=early)
        assert early.taken == OF_THEM[:1]
    assert [path.stem for path in done] == NAMES
    assert reasons == {}


def test_what_a_process_dies_of_is_drawn_by_others(regression: Subject, tmp_path: Path) -> None:
    def die(name: str, subject: Subject, folder: Path) -> Outcome:
        os._exit(9)

    with _early(regression, tmp_path, die) as early:
        done, reasons = draw_all(NAMES, regression, tmp_path, 2, early=early)
    assert [path.stem for path in done] == NAMES
    assert reasons == {}


def test_a_figure_that_fails_early_says_why(regression: Subject, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def failing(name: str, subject: Subject, folder: Path) -> Outcome:
        begun.touch()
        return NotDrawn("by nought", failed=True)

    with _early(regression, tmp_path / "figures", failing) as early:
        _wait_for(begun.exists)
        _, reasons = draw_all(NAMES, regression, tmp_path / "figures", 2, early=early)
        assert reasons == dict.fromkeys(early.taken, "by nought")
        assert early.taken


def test_a_run_that_fails_leaves_no_figures(regression: Subject, tmp_path: Path) -> None:
    begun = tmp_path / "begun"

    def halfway(name: str, subject: Subject, folder: Path) -> Outcome:
        drawn = attempt(name, subject, folder)
        (folder / ".rank.0123456789ab.png").touch()
        begun.touch()
        _wait_for(lambda: False)
        return drawn

    with pytest.raises(ZeroDivisionError), _early(regression, tmp_path / "figures", halfway):
        _wait_for(begun.exists)
        assert (tmp_path / "figures" / f"{OF_THEM[0]}.png").exists()
        raise ZeroDivisionError
    assert not (tmp_path / "figures").exists()


def test_one_processor_draws_nothing_early(regression: Subject, tmp_path: Path) -> None:
    with _early(regression, tmp_path / "figures", processes=1) as early:
        assert isinstance(early, EarlyFigures)
        assert early.names == []
    assert not (tmp_path / "figures").exists()
