"""Merged files of a composition, kept for later ones of the same process while all that they were made of is the same.

Hydra takes 0.2 s to find and merge the files of a run. What it looked at (each config file's content, each folder's
names, and the places where there was nothing) is noted before it is read; a composition is taken again only if all of
it is as it was. Times of files are not enough: two versions of one file may have the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")
Key = tuple[str, ...]

_MOST = 8


def state_of(path: str) -> object:
    """Return what is at a path: a digest of a file's content, the names in a folder, or None."""
    try:
        if os.path.isdir(path):
            return tuple(sorted(os.listdir(path)))
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read(), digest_size=16).digest()
    except OSError:
        return None


class KeptFiles(Generic[T]):
    """What was made of files, by key, with the places that were looked at.

    Attributes
    ----------
    made
        How often something was made, since the last `forget`.
    """

    def __init__(self) -> None:
        self._kept: dict[Key, tuple[T, Mapping[str, object]]] = {}
        self.made = 0

    def forget(self) -> None:
        """Keep nothing of what was made so far."""
        self._kept.clear()
        self.made = 0

    def get(self, key: Key, make: Callable[[], T], looked_at: Mapping[str, object]) -> T:
        """Return what is kept, or what is made now; it is shared, and must not be changed.

        Parameters
        ----------
        key
            What it depends on besides files.
        make
            Makes it.
        looked_at
            Grows while it is made: places, and what was there.
        """
        found = self._kept.pop(key, None)
        if found is None or any(state_of(path) != state for path, state in found[1].items()):
            self.made += 1
            found = make(), looked_at
        self._kept[key] = found
        while len(self._kept) > _MOST:
            del self._kept[next(iter(self._kept))]
        return found[0]
