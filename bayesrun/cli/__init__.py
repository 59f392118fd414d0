"""The command line: its entry point and its help."""

from __future__ import annotations

from signal import SIGINT

from bayesrun.early_signals import Interrupted, end, listen, received
from bayesrun.garbage import collect_rarely


def main() -> None:
    """Run bayesrun as a command; never returns. Signal handlers are set before anything large is imported."""
    listen()
    try:
        collect_rarely()
        from bayesrun.cli.main import main as run  # all that is large, once signals are listened to

        run()
    except KeyboardInterrupt:  # between two steps: before the command began, or after it has ended
        end(received() or Interrupted(SIGINT))
