"""A job that is handed to a launcher, and the records by which the launching process knows how jobs ended."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

JOBS = ".jobs"
"""Folder of the jobs' records."""


class Job(Protocol):
    """A job, by its number, from 0, which is also the name of its folder."""

    @property
    def number(self) -> int:
        """Its number."""
        ...

    @property
    def overrides(self) -> tuple[str, ...]:
        """Overrides with which its config is composed, where it runs."""
        ...


class Records(Protocol):
    """The records of a command's jobs, each written by the process that ran the job, in a folder that all share."""

    @property
    def folder(self) -> Path:
        """The folder of all jobs."""
        ...

    def has_ended(self, number: int) -> bool:
        """Return whether a job has left its record."""
        ...

    def was_interrupted(self, number: int) -> bool:
        """Return whether a job's record says that it was ended from outside; the job knows only of a signal."""
        ...

    def explain(self, number: int, reason: str) -> None:
        """Write why a job was ended from outside into its record."""
        ...

    def give_up(self, number: int, reason: str) -> None:
        """Write the record of a job that has left none."""
        ...

    def set_aside(self, number: int) -> None:
        """Move what an earlier attempt at a job has left out of the way, and remove its record."""
        ...
