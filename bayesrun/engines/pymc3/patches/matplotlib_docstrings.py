"""Keep Matplotlib from writing the docstrings of all its setters while it is imported.

PyMC3 imports ArviZ, which imports Matplotlib; writing docstrings that nobody reads is a third of that import.

Versions: Matplotlib 3.7, 3.8.
Buys: 0.08 s per command.
"""

from __future__ import annotations

import matplotlib.artist

from bayesrun.engines.pymc3.patches.base import Patch, Undo


def _apply() -> Undo:
    original = matplotlib.artist.kwdoc
    matplotlib.artist.kwdoc = lambda artist: ""

    def undo() -> None:
        matplotlib.artist.kwdoc = original

    return undo


PATCH = Patch(_apply, "import")
