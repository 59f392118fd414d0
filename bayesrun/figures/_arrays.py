"""The type of an array of numbers, whose shape each docstring says."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
