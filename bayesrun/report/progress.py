"""The progress of sampling and of other long steps: a live line in a terminal and in a notebook, else plain lines."""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Any, Literal, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY = 15.0
"""Seconds between plain lines."""
_REFRESH = 0.1
"""Seconds between updates of the live line."""
CELL_EVERY = 0.5
"""Seconds between updates of a notebook's line."""
PATIENCE = 3.0
"""Seconds after which a step without progress of its own reports that it is still running."""


_Line = TypeVar("_Line", bound="_LiveLine")


class _LiveLine:
    """A line with a bar, which is live in a terminal; it starts with the `with` block."""

    def __init__(self, what: str, total: int, show: Literal["auto"] | bool) -> None:
        self._live = _bar() if show is not False and sys.stdout.isatty() else None
        self._task = self._live.add_task(what, total=total, note="") if self._live else None

    def __enter__(self: _Line) -> _Line:
        if self._live:
            self._live.start()
        return self


class ProgressLine(_LiveLine):
    """Shows the draws of all chains, divergences, speed and time left.

    Parameters
    ----------
    total
        Draws of all chains, tuning included.
    show
        `auto` and true: live in a terminal and in a notebook, plain elsewhere; false: nothing.
    """

    def __init__(self, total: int, show: Literal["auto"] | bool) -> None:
        self.total, self.divergences, self.done = total, 0, 0
        self._by_chain: dict[int, int] = defaultdict(int)
        self._began = self._shown = 0.0  # set by the first draw: compiling does not count
        super().__init__("sampling", total, show)
        self._cell = NotebookLine() if show is not False and self._live is None and in_notebook() else None
        self._plain = show is not False and self._live is None and self._cell is None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            if self._began:
                self._refresh()
            self._live.stop()
        if self._cell and self._began:
            self._cell.show(self._words(time.monotonic()))

    def begin(self) -> None:
        """Start measuring the speed."""
        self._began = self._shown = time.monotonic()

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        """Count one draw (see `Monitor`)."""
        if not self._began:
            self._began = self._shown = time.monotonic()
        self.done += done - self._by_chain[chain]
        self._by_chain[chain] = done
        self.divergences += diverging and not tuning
        now = time.monotonic()
        if self._live and now - self._shown > _REFRESH:
            self._shown = now
            self._refresh()
        elif self._cell and now - self._shown > CELL_EVERY:
            self._shown = now
            self._cell.show(self._words(now))
        elif self._plain and now - self._shown > EVERY:
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
        time_left = f", {left:,.0f} s left" if self.done < self.total else ""
        return (
            f"{self.done:,} of {self.total:,} draws ({share:.0f}%), {self.divergences} divergences, "
            f"{speed:,.0f} draws/s{time_left}"
        )


class CountLine(_LiveLine):
    """Shows how many of many equal jobs are done, and the time left.

    Parameters
    ----------
    what
        The jobs, as in `fits`.
    total
        How many.
    show
        As of `ProgressLine`.
    """

    def __init__(self, what: str, total: int, show: Literal["auto"] | bool) -> None:
        self._what, self._total = what, total
        super().__init__(what, total, show)
        self._plain = show is not False and self._live is None
        self._began = self._shown = time.monotonic()
        self._first: int | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def tell(self, done: int) -> None:
        """Take notice of how many are done; those of the first call were done before."""
        if self._first is None:
            self._first = done
        now, made = time.monotonic(), done - self._first
        if self._live and self._task is not None:
            self._live.update(self._task, completed=done, note=f"{done:,}/{self._total:,} {self._what}")
            self._live.refresh()
        elif self._plain and now - self._shown > EVERY and made:
            self._shown = now
            left = (self._total - done) * (now - self._began) / made
            share = 100 * done / self._total
            print(f"  {done:,} of {self._total:,} {self._what} ({share:.0f}%), {left:,.0f} s left", flush=True)


def _bar() -> Progress:
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(), auto_refresh=False, transient=False)


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook; IPython is asked only if something has imported it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class NotebookLine:
    """A line of plain text below a notebook's cell, which each new one replaces."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> None:
        """Show a line in place of the last one."""
        display = sys.modules["IPython"].display.display
        content = {"text/plain": text}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


class Waiting:
    """Shows how long a step without progress of its own has been running, once it takes more than a few seconds.

    Parameters
    ----------
    what
        The step, as in `predicting`.
    show
        `auto` and true: live in a terminal, occasional plain lines elsewhere; false: nothing.
    at_once
        Text that a terminal shows at once, until the step is done; empty = nothing before some seconds.
    """

    def __init__(self, what: str, show: Literal["auto"] | bool, at_once: str = "") -> None:
        self._what, self._done, self._at_once = what, threading.Event(), at_once
        self._thread = threading.Thread(target=self._show, daemon=True) if show is not False else None

    def __enter__(self) -> Waiting:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread:
            self._thread.join()

    def _show(self) -> None:
        began = time.monotonic()
        is_terminal = sys.stdout.isatty()
        if self._done.wait(0.0 if is_terminal and self._at_once else PATIENCE):
            return
        if is_terminal:
            with Console().status(self._at_once or self._what) as status:
                while not self._done.wait(1.0):
                    status.update(f"{self._what}: {time.monotonic() - began:,.0f} s")
        elif in_notebook():
            cell = NotebookLine()
            while not self._done.wait(1.0):
                cell.show(f"{self._what}: {time.monotonic() - began:,.0f} s")
        else:
            while not self._done.wait(EVERY):
                print(f"  {self._what}: {time.monotonic() - began:,.0f} s so far", flush=True)
