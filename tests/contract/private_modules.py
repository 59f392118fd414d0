"""A contract for import-linter: a module with a leading underscore is imported in its own folder only."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output


class PrivateModules(Contract):
    """Broken where a module, or a package, with a leading underscore is imported from outside its folder."""

    type_name = "private_modules"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Find the imports that the rule forbids."""
        found = []
        for module in sorted(name for name in graph.modules if not graph.is_module_squashed(name)):
            folder = _private_to(module)
            if folder is not None:
                others = graph.find_modules_that_directly_import(module)
                found += [(other, module) for other in sorted(others) if not f"{other}.".startswith(f"{folder}.")]
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print them."""
        for importer, module in check.metadata["found"]:
            output.print_error(f"{importer} imports {module}, which is private to {_private_to(module)}")


def _private_to(module: str) -> str | None:
    """Return the folder that a module is private to; None for a public one, and one such as `__main__`."""
    parts = module.split(".")
    private = [i for i, part in enumerate(parts) if part.startswith("_") and not part.startswith("__")]
    return ".".join(parts[: private[0]]) if private else None
