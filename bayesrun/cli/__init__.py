"""The command line: its entry point and its help."""

from __future__ import annotations

from bayesrun.early_signals import listen


def main() -> None:
    """Run bayesrun as a command; never returns. Signal handlers are set before anything large is imported."""
    listen()
    from bayesrun.cli.main import main as run

    run()
