"""Read the C file of an operation once: Theano reads that of `DimShuffle` for each one made, some 400 per command.

Versions: Theano-PyMC 1.1.2.
Buys: 0.1 to 0.2 s per command.
"""

from __future__ import annotations

from typing import Any

from theano.graph.op import ExternalCOp

from bayesrun.engines.pymc3.patches.base import Patch, Undo


def _apply() -> Undo:
    original, read = ExternalCOp.load_c_code, dict[Any, Any]()

    def load_c_code(self: Any, func_files: list[str]) -> None:
        key = type(self), *func_files
        if key not in read:
            original(self, func_files)
            read[key] = self.func_codes, self.code_sections
        self.func_codes, self.code_sections = read[key]

    ExternalCOp.load_c_code = load_c_code

    def undo() -> None:
        ExternalCOp.load_c_code = original

    return undo


PATCH = Patch(_apply, "process")
