"""The documentation as a site: it builds strictly, needs no network, and every example is run by some test."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from bayesrun.cli.schemas import header
from bayesrun.errors import UserError
from bayesrun.schema import Section
from bayesrun.tasks.base import TASKS
from tests.composing import composed
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
RUN_BY = {
    "data.md": "tests/contract/test_data_docs.py",
    "language.md": "tests/contract/test_language_docs.py",
    "regression.md": "tests/contract/test_regression_docs.py",
    "coming-from-brms.md": "tests/integration/test_coming_from_docs.py",
    "coming-from-bambi.md": "tests/integration/test_coming_from_docs.py",
    "coming-from-stan.md": "tests/integration/test_coming_from_stan.py",
    "python.md": "tests/integration/test_python.py",
    "sweeps.md": "tests/unit/config/test_cluster_file.py",
    "server.md": "tests/integration/test_docs_server.py",
    "models.md": "tests/integration/test_docs_pages.py",
    "command_line.md": "tests/integration/test_terminal.py",
    **dict.fromkeys(
        ("tour.md", "verdict.md", "plugins.md", "coming-from-pymc3.md", "tutorials/*.md"),
        "tests/integration/test_docs_pages.py",
    ),
}
"""Tests that run the examples of a page that have a language."""


class Loaded(HTMLParser):
    """What a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        loads = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
        if tag in loads and given.get("rel") not in ("canonical", "next", "prev") and given.get(loads[tag]):
            self.addresses.append(str(given[loads[tag]]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site, built as CI builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_page_loads_only_what_is_in_the_site(site: Path) -> None:
    pages = [page for page in site.rglob("*.html") if page.name != "404.html"]
    assert len(pages) > 30
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert loaded.addresses
        files = [address.partition("?")[0].partition("#")[0] for address in loaded.addresses]
        assert not [each for each in files if not (page.parent / each).is_file()], page
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.findall(r"url\(['\"]?(?:https?:)?//[^)]*\)|@import", styles)


def test_the_reference_has_every_type_and_key(site: Path) -> None:
    model, config = ((site / f"reference/{name}.html").read_text() for name in ("model", "config"))
    for key in ("options.check_design", "potentials", "options.form", "formula"):
        assert f"<code>{key}</code>" in model
    for key in ("diagnostics.thresholds.r_hat", "seed", "sweep.zip", "predict.new_levels", "tracking.timeout"):
        assert f"<code>{key}</code>" in config
    assert "reference/model.html" in (site / "search/search_index.json").read_text()


def test_pipes_in_code_of_tables_are_shown_without_backslashes(site: Path) -> None:
    page = (site / "regression.html").read_text()
    assert "<code>(1 | g)</code>" in page and "<code>(x | g)</code>" in page
    assert not [path.name for path in site.rglob("*.html") if re.search(r"<td><code>[^<]*\\\|", path.read_text())]


def test_the_home_page_is_the_readme_with_links_into_the_site(site: Path) -> None:
    home = (site / "index.html").read_text()
    assert 'href="regression.html"' in home and 'href="contributing.html"' in home
    assert "docs/" not in re.sub(r"<a [^>]*>|docs/\w+", "", home).partition("<article")[2].partition("</article")[0]


# ---------------------------------------------------------------- examples


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_example_with_a_language_is_run_by_a_test(page: Path) -> None:
    languages = set(re.findall(r"^```(\w+)", page.read_text(encoding="utf-8"), re.MULTILINE)) - {"text"}
    name = name_of(page)
    test = RUN_BY.get(name) or RUN_BY.get(f"{Path(name).parent}/*.md")
    assert not languages or test, f"{name} has examples in {languages}, and no test runs them"
    assert test is None or (ROOT / test).is_file()


COMMAND = re.compile(r"^ *(?:\$ )?(?:uv run )?python -m bayesrun +(?!list|describe|new|schema)([^#\n]*)", re.MULTILINE)
STANDS_FOR = re.compile(
    r"\b(FOLDER|NAME|DIR|RUN|RUN_ID|JOB_FOLDER|OTHER|URI|HOST|DATE|RUN_FOLDER)\b|--config-dir|OPTION"
)
LINES = sorted({line.strip() for page in [*PAGES, ROOT / "README.md"] for line in COMMAND.findall(page.read_text())})


@pytest.mark.parametrize("line", [line for line in LINES if line and not line.endswith("\\")])
def test_a_command_composes(line: str) -> None:
    words = shlex.split(line)
    task = next((word.partition("=")[2] for word in words if word.startswith("task=")), "run")
    if task not in ("run", "NAME"):
        options = TASKS.load(task, "task").options
        known = options.model_fields if isinstance(options, type) and issubclass(options, Section) else {}
        own = [word.partition("=")[0].removeprefix(f"{task}.") for word in words if word.startswith(f"{task}.")]
        assert task == "predict" or not [key for key in own if key not in known]
    elif not STANDS_FOR.search(line) and "mine" not in line:
        try:
            composed(*words)
        except UserError as error:  # a package that is not installed
            assert "plug-in" in str(error)


def test_a_file_of_an_editor_is_the_one_that_is_written() -> None:
    text = (DOCS / "command_line.md").read_text()
    (shown,) = re.findall(r"```yaml\n(.*?)\n```", text)
    assert yaml.safe_load(shown) is None
    assert shown == header("model")
