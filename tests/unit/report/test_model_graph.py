"""The model's graph as a picture: both ways of drawing, and the places of the own layout."""

from __future__ import annotations

import random
import re
import shutil
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bayesrun.engines.base import GraphNode, ModelGraph
from bayesrun.language.statements import Statement, WrittenModel
from bayesrun.report.graph_layout import GAP, Item, Layout, lay_out
from bayesrun.report.model_graph import dot_text, label, write_graph, written_distributions, written_graph
from bayesrun.run_folder import RunFolder

SCHOOL = ("school (8)",)
EIGHT = ModelGraph(
    nodes=(
        GraphNode("mu", "free", "Normal"),
        GraphNode("tau", "free", "HalfCauchy"),
        GraphNode("theta", "deterministic", "", SCHOOL),
        GraphNode("stderr", "data", "", SCHOOL),
        GraphNode("count", "observed", "Poisson", SCHOOL, discrete=True),
        GraphNode('odd "name" $x$', "potential"),
    ),
    edges=(("mu", "theta"), ("tau", "theta"), ("theta", "count"), ("stderr", "count"), ("mu", 'odd "name" $x$')),
)

WRITTEN = {"mu": "Normal(0, 5)", "tau": "HalfCauchy(5)"}


def test_own_drawing_is_an_svg_with_no_dot_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    root = ElementTree.parse(write_graph(EIGHT, RunFolder(tmp_path), WRITTEN)).getroot()
    assert root.tag.endswith("svg")
    text = ElementTree.tostring(root, encoding="unicode")
    # matplotlib writes each text's letters as shapes below a comment-free group; six nodes and one plate
    assert text.count('id="text_') == len(EIGHT.nodes) + 1
    assert [p.name for p in tmp_path.iterdir()] == ["model.svg"]


def test_edges_that_go_around_nodes_stay_in_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    time, wide = ("time (200)",), {"alpha1": "Uniform(lower=0, upper=1)", "beta1": "Uniform(lower=0, upper=1 - alpha1)"}
    names = ("alpha0", "alpha1", "beta1", "mu")
    ends = ("variance_end", "y_obs")
    graph = ModelGraph(
        nodes=(
            *(GraphNode(name, "free", "Normal") for name in names),
            GraphNode("y", "data", "", time),
            GraphNode("variance_end", "deterministic", "", ("end (1)",)),
            GraphNode("y_obs", "observed", "Normal", time),
        ),
        edges=(*((name, end) for name in (*names, "y") for end in ends), ("alpha1", "beta1")),
    )
    root = ElementTree.parse(write_graph(graph, RunFolder(tmp_path), wide)).getroot()
    width = float(root.attrib["viewBox"].split()[2])
    svg = "{http://www.w3.org/2000/svg}"
    shapes = [group.find(f"{svg}path") for group in root.iter(f"{svg}g") if group.get("id", "").startswith("patch_")]
    drawn = " ".join(shape.get("d", "") for shape in shapes if shape is not None)
    across = [float(x) for x in re.findall(r"[ML] (-?[\d.]+) -?[\d.]+", drawn)]
    assert min(across) >= 0 and max(across) <= width


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_dot_draws_what_is_written(tmp_path: Path) -> None:
    text = write_graph(EIGHT, RunFolder(tmp_path), WRITTEN).read_text()
    ElementTree.fromstring(text)
    assert "HalfCauchy" in text and "school (8)" in text and "odd &quot;name&quot;" in text
    assert text.count('class="edge"') == len(EIGHT.edges)
    assert text.count('class="cluster"') == 1


def test_a_dot_that_fails_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bin" / "dot"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:/bin:/usr/bin")
    assert "Matplotlib" in write_graph(EIGHT, RunFolder(tmp_path), WRITTEN).read_text()


def test_dot_text_tells_kinds_apart() -> None:
    lines = {line.strip() for line in dot_text(EIGHT, {"mu": "Normal(0, 5)"}).splitlines()}
    assert '"count" [label="count\\n~ Poisson" shape=ellipse fillcolor="#d0d0d0" peripheries=2];' in lines
    assert any(line.startswith('"theta"') and "shape=box" in line for line in lines)
    assert any("octagon" in line for line in lines)
    assert '"mu" -> "theta";' in lines


def test_label() -> None:
    assert label(GraphNode("mu", "free", "Normal"), {"mu": "Normal(0, 5)"}) == "mu\n~ Normal(0, 5)"
    assert label(GraphNode("mu", "free", "Normal"), {}) == "mu\n~ Normal"
    assert label(GraphNode("theta", "deterministic"), {}) == "theta"
    long = label(GraphNode("y", "observed", "Normal"), {"y": "Normal(alpha[county] + beta * floor, sigma)"})
    assert long == "y\n~ Normal(alpha[county] + beta\n* floor, sigma)"


@pytest.mark.parametrize(
    ("prior", "text"),
    [
        ({"dist": "Normal", "mu": "mu", "sigma": "tau", "dims": ["school"]}, "Normal(mu, tau)"),
        ({"dist": "HalfCauchy", "beta": 5.0}, "HalfCauchy(5)"),
        ({"dist": "Gamma", "beta": 0.1, "alpha": 2}, "Gamma(alpha=2, beta=0.1)"),
        ({"dist": "Dirichlet", "a": [1.0] * 9}, "Dirichlet([9 values])"),
        ({"dist": "Flat"}, "Flat()"),
        (
            {
                "dist": "GaussianProcess",
                "kernel": {"product": [{"sum": [{"linear": None}, {"exp_quad": {}}]}, {"periodic": {}}]},
            },
            "GaussianProcess((linear + exp_quad) * periodic)",
        ),
    ],
)
def test_parameters_are_written_as_in_the_yaml(prior: dict[str, object], text: str) -> None:
    assert written_distributions({"priors": {"x": prior}}) == {"x": text}


def test_the_graph_of_a_written_model_links_the_names_of_its_lines() -> None:
    line = "coefficient('x') * x + effect('g', 'Intercept')"
    lines = (
        Statement("likelihood", "y", ("rows",), {"dist": "Poisson", "mu": "mu"}),
        Statement("predictor", "mu", ("rows",), expression=line, link="log"),
        Statement("prior", "x", (), {"dist": "Normal", "mu": 0, "sigma": 1}, left="coefficient('x')"),
        Statement("prior", "r_g", ("g",), {"dist": "Normal", "mu": 0, "sigma": "sd_g"}),
        Statement("prior", "sd_g", (), {"dist": "HalfNormal", "sigma": 1}),
    )
    model = WrittenModel(lines, {"x": ("obs",), "g": ("obs",), "y": ("obs",)}, {"obs": 10, "g": 3}, "obs")
    graph, written = written_graph(model)
    nodes = {node.name: (node.kind, node.dims, node.discrete) for node in graph.nodes}
    assert nodes["y"] == ("observed", ("obs (10)",), True)
    assert nodes["x"] == ("data", ("obs (10)",), False) and nodes["b[x]"] == ("free", (), False)
    assert nodes["r_g"] == ("free", ("g (3)",), False)
    assert set(graph.edges) == {
        ("mu", "y"), ("b[x]", "mu"), ("x", "mu"), ("r_g", "mu"), ("g", "mu"), ("sd_g", "r_g"),
    }  # fmt: skip
    assert written["r_g"] == "Normal(0, sd_g)" and "mu" not in written


def test_a_smooth_is_linked_to_the_variables_that_bear_its_name_and_functions_are_no_nodes() -> None:
    lines = (
        Statement("predictor", "mu", ("rows",), expression="column('s(x)') + log(x)"),
        Statement("prior", "s_x", (), {"dist": "Flat"}),
        Statement("prior", "weights_s_x", (), {"dist": "Normal", "mu": 0, "sigma": "sds_s_x"}),
        Statement("prior", "sds_s_x", (), {"dist": "HalfNormal", "sigma": 1}),
    )
    graph, _ = written_graph(WrittenModel(lines, {"x": ("obs",)}, {"obs": 4, "column": 2, "log": 3}, "obs"))
    assert set(graph.edges) == {("s_x", "mu"), ("weights_s_x", "mu"), ("x", "mu"), ("sds_s_x", "weights_s_x")}


@pytest.mark.parametrize("seed", range(20))
def test_layout_of_any_graph(seed: int) -> None:
    lot = random.Random(seed)
    items = [Item(f"v{i}", lot.uniform(0.5, 2), lot.choice(["", "p", "q"])) for i in range(lot.randint(1, 14))]
    names = [item.name for item in items]
    edges = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if lot.random() < 0.25]
    layout = lay_out(items, edges, margin=0.1, least={"p": 3.0})
    assert set(layout.places) == set(names)
    for (parent, child), points in layout.ways.items():
        way = [layout.places[parent][1], *(layer for _, layer in points), layout.places[child][1]]
        assert all(after == before + 1 for before, after in pairwise(way))
    _check_no_overlap(items, layout.places)
    _check_plates(items, layout)


def _check_no_overlap(items: list[Item], places: dict[str, tuple[float, int]]) -> None:
    width = {item.name: item.width for item in items}
    for layer in {layer for _, layer in places.values()}:
        row = sorted((x, name) for name, (x, own) in places.items() if own == layer)
        for (left, a), (right, b) in pairwise(row):
            assert right - left >= (width[a] + width[b]) / 2 + GAP - 1e-9


def _check_plates(items: list[Item], layout: Layout) -> None:
    """A plate encloses its members and nothing else."""
    for plate, (left, right) in layout.plates.items():
        inside = [layout.places[item.name][1] for item in items if item.plate == plate]
        assert right - left >= (3.0 if plate == "p" else 0.0) - 1e-6
        for item in items:
            x, layer = layout.places[item.name]
            if item.plate == plate:
                assert left + 0.1 - 1e-6 <= x - item.width / 2 and x + item.width / 2 <= right - 0.1 + 1e-6
            elif min(inside) <= layer <= max(inside):
                assert x + item.width / 2 < left or x - item.width / 2 > right


def test_members_of_a_plate_are_neighbours() -> None:
    items = [Item(name, 1.0, plate) for name, plate in (("a", "p"), ("x", ""), ("b", "p"), ("c", "p"), ("y", ""))]
    layout = lay_out([*items, Item("end", 1.0, "")], [(item.name, "end") for item in items])
    row = [name for _, name in sorted((x, name) for name, (x, layer) in layout.places.items() if layer == 0)]
    places = [row.index(name) for name in "abc"]
    assert max(places) - min(places) == 2
