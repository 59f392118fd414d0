"""`tracking=none`: nothing is tracked; the run folder is all there is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from bayesrun.tracking.base import Backend, RunCard, RunStatus, Tracker, TrackingSpec


class NoTracker:
    """Tracks nothing."""

    def ready(self) -> str | None:
        """There is nothing to wait for."""
        return None

    def progress(self, step: int, progress: float, divergences_so_far: int) -> None:
        """Progress is not reported."""

    def end_jobs(self) -> None:
        """There are no jobs."""

    def drop_jobs(self, jobs: Sequence[str], keep: Collection[str] = ()) -> None:
        """There are no jobs."""

    def close(self, folder: Path, status: RunStatus) -> None:
        """There is nothing to send."""

    def compare_hint(self) -> str | None:
        """There is nothing to compare with."""
        return None


def _open(spec: TrackingSpec, card: RunCard) -> Tracker:
    return NoTracker()


TRACKER = Backend(open=_open)
