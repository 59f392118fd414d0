"""`tracking=none`: nothing is tracked; the run folder is all there is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from bayesrun.tracking.base import Backend, RunCard, RunStatus, Tracker, TrackingSpec


class _NoTracker:
    def ready(self) -> str | None:
        return None

    def progress(self, step: int, progress: float, divergences_so_far: int) -> None:
        pass

    def end_jobs(self) -> None:
        pass

    def drop_jobs(self, jobs: Sequence[str], keep: Collection[str] = ()) -> None:
        pass

    def close(self, folder: Path, status: RunStatus) -> None:
        pass

    def compare_hint(self) -> str | None:
        return None


def _open(spec: TrackingSpec, card: RunCard) -> Tracker:
    return _NoTracker()


TRACKER = Backend(open=_open)
