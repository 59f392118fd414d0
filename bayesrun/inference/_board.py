"""What the processes of a run share: draws and progress of every chain."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Board:
    """Arrays in memory that forked processes share: what one writes, the others read, and nothing is copied.

    Parameters
    ----------
    points
        Kept draws (chain, draw, parameter), unconstrained.
    done
        Draws made (chain), tuning included.
    diverging
        Divergences so far (chain), tuning included.
    stop
        One element; chains end when it is not 0.
    """

    points: NDArray[Any]
    done: NDArray[Any]
    diverging: NDArray[Any]
    stop: NDArray[Any]


def make_board(chains: int, draws: int, parameters: int) -> Board:
    """Make the board of a run; pages of it take memory when they are first written."""
    points = _shared("f8", chains, draws, parameters)
    return Board(points, _shared("i8", chains), _shared("i8", chains), _shared("i8", 1))


def _shared(kind: str, *shape: int) -> NDArray[Any]:
    import math

    import numpy as np

    return np.frombuffer(mmap.mmap(-1, 8 * math.prod(shape)), dtype=kind).reshape(shape)
