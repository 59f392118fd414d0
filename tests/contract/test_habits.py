"""What contributors rely on: the Makefile and CI run the same commands, and the package is marked as typed."""

from __future__ import annotations

import re

from bayesrun import __version__
from tests.conftest import ROOT


def test_ci_runs_every_command_of_make_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = next(line for line in makefile.splitlines() if line.startswith("ci:")).split("##")[0].split()[1:]
    assert targets
    for target in targets:
        block = makefile.split(f"\n{target}:", 1)[1].split("\n\n", 1)[0]
        commands = [line.strip() for line in block.splitlines() if line.startswith("\t")]
        assert commands
        for command in commands:
            assert command in ci, f"make {target} runs '{command}', CI does not"


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "bayesrun" / "py.typed").exists()


def test_citation_and_changelog_have_the_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_what_contributing_and_readme_name_is_there() -> None:
    for name in ("CONTRIBUTING.md", "README.md"):
        text = (ROOT / name).read_text()
        links = re.findall(r"\]\(([^)#]+?)\)", text)
        paths = re.findall(r"`((?:bayesrun|conf|tests|benchmarks)/[\w/.]+)`", text)
        assert not [path for path in [*links, *paths] if "NAME" not in path and not (ROOT / path).exists()], name
