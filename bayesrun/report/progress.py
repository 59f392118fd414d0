"""The progress of sampling: a live line in a terminal, a plain line every so often elsewhere."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from types import TracebackType
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_EVERY = 15.0
"""Seconds between plain lines."""
_REFRESH = 0.1
"""Seconds between updates of the live line."""


class ProgressLine:
    """Counts draws of all chains and shows draws, divergences, speed and time left.

    Parameters
    ----------
    total
        Draws of all chains, tuning included.
    show
        `auto` = live in a terminal, plain elsewhere; true the same; false shows nothing.
    """

    def __init__(self, total: int, show: Literal["auto"] | bool) -> None:
        self.total, self.divergences, self.done = total, 0, 0
        self._by_chain: dict[int, int] = defaultdict(int)
        self._began = self._shown = 0.0  # set by the first draw: compiling is not sampling
        self._live = _bar() if show is not False and sys.stdout.isatty() else None
        self._plain = show is not False and self._live is None
        self._task = self._live.add_task("sampling", total=total, note="") if self._live else None

    def __enter__(self) -> ProgressLine:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            if self._began:
                self._refresh()
            self._live.stop()

    def begin(self) -> None:
        """Measure the speed from here."""
        self._began = self._shown = time.monotonic()

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        """Count one draw (see `samplers.base.Monitor`)."""
        if not self._began:
            self._began = self._shown = time.monotonic()
        self.done += done - self._by_chain[chain]
        self._by_chain[chain] = done
        self.divergences += diverging and not tuning
        now = time.monotonic()
        if self._live and now - self._shown > _REFRESH:
            self._shown = now
            self._refresh()
        elif self._plain and now - self._shown > _EVERY:
            self._shown = now
            print(f"  {self._words(now)}", flush=True)

    def _refresh(self) -> None:
        assert self._live is not None and self._task is not None
        speed = self.done / max(1e-9, time.monotonic() - self._began)
        note = f"{self.done:,}/{self.total:,} draws, {self.divergences} divergences, {speed:,.0f} draws/s"
        self._live.update(self._task, completed=self.done, note=note)

    def _words(self, now: float) -> str:
        speed = self.done / max(1e-9, now - self._began)
        left = (self.total - self.done) / max(1e-9, speed)
        share = 100 * self.done / self.total
        return (
            f"{self.done:,} of {self.total:,} draws ({share:.0f} %), {self.divergences} divergences, "
            f"{speed:,.0f} draws/s, {left:,.0f} s left"
        )


def _bar() -> Progress:
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(), auto_refresh=False, transient=False)
