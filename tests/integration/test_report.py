"""`report.html` of real runs: self-contained, legible in a browser without scripts, and made again from the folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Command, only_run

HOSTILE = '<img src=x onerror="document.title=1">'
SECRET = "hunter2-very-secret"
ROWS = 40


def write(folder: Path, **sections: dict[str, Any]) -> None:
    """Write a user's own model and data."""
    for group, content in sections.items():
        (folder / group).mkdir(parents=True, exist_ok=True)
        (folder / group / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, bayesrun: Command) -> Path:
    """Run a hierarchy whose data have markup in a name and in labels."""
    folder = tmp_path_factory.mktemp("report")
    rows = {
        HOSTILE: [(7 * i) % 11 for i in range(ROWS)],
        "group": [f"{HOSTILE}{i % 3}" for i in range(ROWS)],
        "y": [None if i == 3 else ((7 * i) % 11) * 0.5 + i % 3 + (i % 5) * 0.1 for i in range(ROWS)],
    }
    data = {"name": "mine", "source": "inline", "values": rows, "factors": {"g": "group"}}
    mean = f"alpha[g] + beta * `{HOSTILE}`"
    model = {
        "name": HOSTILE,
        "type": "declarative",
        "priors": {
            "alpha": {"dist": "Normal", "mu": 0, "sigma": "tau", "dims": ["group"]},
            "tau": {"dist": "HalfNormal", "sigma": 2},
            "beta": {"dist": "Normal", "mu": 0, "sigma": 1},
            "sigma": {"dist": "HalfNormal", "sigma": 1},
        },
        "likelihood": {"y": {"dist": "Normal", "mu": mean, "sigma": "sigma", "observed": "y"}},
        "figures": ["trace", "forest", "ppc", "loo_pit"],
    }
    write(folder, model=model, data=data)
    words = (f"--config-dir={folder}", "model=mine", "data=mine", "sampler.draws=250", "sampler.tune=250")
    more = ("sampler.chains=2", "tracking=none", f"+tags.note=postgresql://ann:{SECRET}@host/db")
    done = bayesrun(*words, *more, f"paths.outputs={folder}/out", "name=mine", "experiment_name=mine")
    assert done.returncode == 0, done.stderr + done.stdout
    return only_run(folder / "out")


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return (run / "report.html").read_text()


def test_the_page_needs_nothing_else_and_is_small(page: str) -> None:
    sources = re.findall(r'(?:src|href)="([^"]*)', page)
    assert sources and all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"@import|url\(|<link|<iframe", page)
    assert len(page) < 3_000_000


def test_what_matters_comes_first(page: str) -> None:
    places = [page.index(f"<h2>{name}</h2>") for name in ("Model", "Data", "Posterior", "Priors against posteriors")]
    assert page.index('aria-label="Verdict"') < places[0] and places == sorted(places)
    for name in ("Predictive checks", "Figures", "Sampler", "Run it again", "Provenance"):
        assert f"<h2>{name}</h2>" in page, name
    assert "python -m bayesrun --config-dir" in page and "NUTS" in page
    assert '<td class="text">observed</td>' in page and "<td>39</td><td>1</td>" in page  # one value is missing


def test_names_stay_text_and_secrets_stay_secret(page: str) -> None:
    assert HOSTILE not in page
    assert "&lt;img src=x onerror=" in page
    assert SECRET not in page


def test_the_page_is_made_again_from_the_folder_alone(run: Path, page: str, bayesrun: Command) -> None:
    (run / "report.html").unlink()
    done = bayesrun("task=report", f"run={run}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(run / "report.html")
    assert (run / "report.html").read_text() == page


def test_the_task_needs_a_run(bayesrun: Command) -> None:
    done = bayesrun("task=report")
    assert done.returncode == 1 and "needs a finished run" in done.stderr + done.stdout


@pytest.mark.slow
def test_other_ends_of_a_run_have_a_page_and_report_false_has_none(tmp_path: Path, bayesrun: Command) -> None:
    few = ("sampler.draws=50", "sampler.chains=1", "tracking=none", "model.figures=[]", "predictive.prior=20")
    done = bayesrun("model=eight_schools", "sampler=prior", *few, f"paths.outputs={tmp_path}/prior")
    assert done.returncode == 0, done.stderr
    page = (only_run(tmp_path / "prior") / "report.html").read_text()
    assert "<h2>Prior</h2>" in page and "<h2>Figures</h2>" not in page and "50 draws from the prior" in page
    done = bayesrun("model=eight_schools", "sampler=prior", *few, "report=false", f"paths.outputs={tmp_path}/none")
    assert done.returncode == 0, done.stderr
    assert not (only_run(tmp_path / "none") / "report.html").exists()


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as player:
        opened = player.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_a_phone_does_not_scroll_sideways(run: Path, browser: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for width in (1200, 400):
        shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        shown.goto(f"file://{run}/report.html")
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.title() != "1"
        shown.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert axe.run(shown).response["violations"] == []
        shown.close()


@pytest.mark.slow
@pytest.mark.browser
def test_it_prints_whole_on_paper_and_white(run: Path, browser: Any, tmp_path: Path) -> None:
    """A4 between the browser's margins is 718 px wide; what a dark screen shows is printed dark on white."""
    shown = browser.new_page(viewport={"width": 718, "height": 1000}, color_scheme="dark")
    shown.goto(f"file://{run}/report.html")
    shown.emulate_media(media="print")
    assert shown.evaluate("document.documentElement.scrollWidth") <= 718
    cut = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 719).length"
    assert shown.evaluate(cut) == 0
    light = "c => Math.min(...c.match(/\\d+/g).slice(0, 3).map(Number))"
    colour = "getComputedStyle(document.body)"
    assert shown.evaluate(f"({light})({colour}.backgroundColor)") > 240
    assert shown.evaluate(f"({light})({colour}.color)") < 60
    shown.pdf(path=str(tmp_path / "report.pdf"), format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.slow
@pytest.mark.browser
def test_it_reads_in_a_sandboxed_frame_where_no_script_runs(run: Path, browser: Any) -> None:
    """As in MLflow's artifact viewer. Formulas are set, figures enlarge, and no request leaves the page."""
    shown = browser.new_page(viewport={"width": 1000, "height": 900})
    requests: list[str] = []
    shown.on("request", lambda request: requests.append(request.url))
    shown.set_content("<iframe sandbox='allow-same-origin' style='width:900px;height:800px'></iframe>")
    shown.evaluate("page => { document.querySelector('iframe').srcdoc = page }", (run / "report.html").read_text())
    frame = shown.frame_locator("iframe")
    frame.locator("text=Provenance").wait_for()
    assert frame.locator("table.sortable th button").count() == 0  # no dead controls
    fraction = frame.locator(".formulas math").first.bounding_box()
    assert fraction and fraction["width"] > 10
    small = frame.locator("details.figure img").first
    before = small.bounding_box()["width"]
    frame.locator("details.figure summary").first.click()
    assert small.bounding_box()["width"] > 1.5 * before
    assert all(url.startswith(("data:", "about:")) for url in requests), requests


@pytest.mark.slow
@pytest.mark.browser
def test_columns_sort_by_their_numbers(run: Path, browser: Any) -> None:
    shown = browser.new_page()
    shown.goto(f"file://{run}/report.html")
    column = shown.locator("table.sortable thead button", has_text="sd")
    values = "[...document.querySelectorAll('table.sortable tbody tr')].map(row => +row.cells[2].dataset.value)"
    column.click()
    up = shown.evaluate(values)
    column.click()
    assert up == sorted(up) and shown.evaluate(values) == up[::-1] and len(up) > 5
