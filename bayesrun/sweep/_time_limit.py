"""A job's time limit on a cluster: submitit is warned by a signal, and what it then raises is told in plain words."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bayesrun.errors import SamplingError, TimeLimitReached


@contextmanager
def told_plainly() -> Iterator[None]:
    """Raise `TimeLimitReached` where submitit says "Job not requeued because: timed-out too many times".

    Its handler still decides whether the job was only preempted. Where submitit does not run the job nothing listens
    to the signal, and nothing is changed.

    Slurm sends the signal to all processes of the job, and may send it again. Only this one answers, and only the
    first: the chains, forked from it, would have submitit write the same file at the same time, which it refuses.
    """
    submitits = signal.getsignal(signal.SIGUSR2)
    if not callable(submitits):
        yield
        return

    asked = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        if os.getpid() != asked:
            return
        try:
            submitits(number, frame)
        except Exception as error:
            if "timed-out" in str(error):
                raise TimeLimitReached from None
            # submitit could not queue it again: `--no-requeue` forbids it
            raise SamplingError("the cluster gave its place to another job (preempted)") from None

    signal.signal(signal.SIGUSR2, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR2, submitits)
