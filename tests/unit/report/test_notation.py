"""Models in mathematical notation: the shipped models, regressions, and the models of docs/language.md."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from bayesrun.config.run_config import RunConfig
from bayesrun.language.statements import Statement, WrittenModel, written_model
from bayesrun.models.regression import regression_statements
from bayesrun.models.regression.families import FAMILY_TABLE
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.models.regression.regression_statements import statements
from bayesrun.pipeline import load_data
from bayesrun.report.notation import Notation
from tests.composing import parsed
from tests.conftest import ROOT

DATA = ROOT / "tests" / "reference" / "data"


def flat(mathml: str) -> str:
    """Return MathML as linear text, as TeX has it; it must be well formed."""
    return re.sub(r"\s+", " ", _flat(ElementTree.fromstring(f"<math>{mathml}</math>"))).strip()


def _flat(node: ElementTree.Element) -> str:
    parts = [_flat(child) for child in node]
    if node.tag in ("msub", "msup", "msubsup", "mover", "munder"):
        assert len(parts) == {"msubsup": 3}.get(node.tag, 2), ElementTree.tostring(node)
    if node.tag == "msub":
        return f"{parts[0]}_{{{parts[1]}}}"
    if node.tag == "msup":
        return f"{parts[0]}^{{{parts[1]}}}"
    if node.tag == "msubsup":
        return f"{parts[0]}_{{{parts[1]}}}^{{{parts[2]}}}"
    if node.tag == "mfrac":
        return f"({parts[0]})/({parts[1]})"
    if node.tag == "msqrt":
        return f"sqrt({''.join(parts)})"
    if node.tag == "mspace":
        return " "
    if node.tag == "mtr":
        return "; ".join(parts) + " | "
    own = (node.text or "").replace("\u2062", " ").replace("\u2061", "").replace("\xa0", " ")
    return own + "".join(parts)


def lines(notation: Notation) -> list[str]:
    """Return the formulas as linear text."""
    return [f"{flat(f.left)} {flat(f.relation)} {flat(''.join(f.right))}" for f in notation.formulas]


def written(config: RunConfig) -> WrittenModel:
    """Write a model down as a run does, by way of its JSON."""
    data, *_ = load_data(config)
    own = config.model_type.statements
    declared = config.model_type.build(data, config.model)
    model = written_model(declared, data, None if own is None else own(config.model, data))
    return WrittenModel.restored(json.loads(json.dumps(model.plain())))


def notation(*overrides: str) -> Notation:
    """Return the formulas of a shipped model."""
    return Notation(written(parsed(*overrides)))


def own(tmp_path: Path, data: dict[str, Any], **model: Any) -> Notation:
    """Return the formulas of a user's own model and data."""
    for group, content in (("model", {"name": "mine", **model}), ("data", {"name": "mine", **data})):
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return notation(f"--config-dir={tmp_path}", "model=mine", "data=mine")


def regression(tmp_path: Path, file: str, formula: Any, family: str, **model: Any) -> list[str]:
    source = {"source": "csv", "path": str(DATA / f"{file}.csv")}
    return lines(own(tmp_path, source, type="regression", formula=formula, family=family, **model))


# ---------------------------------------------------------------- the tutorial's models


def test_a_linear_regression_reads_as_in_a_paper() -> None:
    shown = lines(notation("model=linear_regression"))
    assert shown == [
        "Y_{i} ∼ Normal(α+β_{X_{1}} X_{1,i}+β_{X_{2}} X_{2,i},σ)",
        "α ∼ Normal(0,10)",
        "β_{j} ∼ Normal(0,10)",
        "σ ∼ Half-Normal(1)",
    ]


def test_a_switch_is_a_choice_of_cases_over_time() -> None:
    shown = notation("model=switchpoint")
    assert lines(shown)[:3] == [
        "disasters_{t} ∼ Poisson(μ_{t})",
        "μ_{t} = early_rate; if switchpoint≥year_{t} | late_rate; otherwise |",
        "switchpoint ∼ DiscreteUniform(min(year),max(year))",
    ]
    assert [(index.letter, index.dim, index.size) for index in shown.indices] == [("t", "year", 111)]
    assert lines(shown) == lines(notation("model=declarative/switchpoint"))


def test_a_random_walk_is_a_step_from_the_point_before() -> None:
    shown = lines(notation("model=stochastic_volatility"))
    assert shown[0] == "returns_{t} ∼ Student-t(ν,0,volatility_process_{t})"
    assert "s_{t} ∼ Normal(s_{t−1},σ)" in shown
    assert sorted(shown) == sorted(lines(notation("model=declarative/stochastic_volatility")))


def test_a_function_of_ones_own_has_its_name() -> None:
    assert lines(notation("model=arbitrary_deterministic")) == ["b = modulo3(a)", "a ∼ Poisson(1)"]


def test_a_logistic_regression_has_its_link() -> None:
    assert lines(notation("model=glm_logistic")) == [
        "Y_{i}>median(Y) ∼ Bernoulli(μ_{i})",
        "logit(μ_{i}) = β_{0}+β_{X_{1}} X_{1,i}",
        "β_{0} ∼ Normal(0,10)",
        "β_{X_{1}} ∼ Normal(0,10)",
    ]


# ---------------------------------------------------------------- the shipped declarative models


def test_a_hierarchy_puts_groups_before_their_own_priors() -> None:
    assert lines(notation("model=varying_intercepts")) == [
        "log_radon_{i} ∼ Normal(α_{county[i]}+β·floor_{i},σ)",
        "α_{j} ∼ Normal(μ_{α},σ_{α})",
        "μ_{α} ∼ Normal(0,5)",
        "σ_{α} ∼ Half-Normal(1)",
        "β ∼ Normal(0,2)",
        "σ ∼ Half-Normal(2)",
    ]


def test_eight_schools_has_a_fraction_inside_a_square() -> None:
    shown = lines(notation("model=eight_schools"))
    assert shown[:2] == ["effect_{i} ∼ Normal(θ_{i},stderr_{i})", "shrinkage_{i} = (1)/(1+((τ)/(stderr_{i}))^{2})"]


def test_a_mixture_is_a_weighted_sum_and_its_parameters_share_an_index() -> None:
    assert lines(notation("model=gaussian_mixture")) == [
        "y_{i} ∼ ∑jw_{j}Normal(μ_{j},σ_{j})",
        "w ∼ Dirichlet(2,2)",
        "μ_{j} ∼ Normal(0,3)",
        "σ_{j} ∼ Half-Normal(2)",
    ]


def test_an_autoregression_names_the_values_before() -> None:
    assert lines(notation("model=ar"))[0] == "y_{t} ∼ Normal(ρ_{0}+ρ_{1}y_{t−1}+ρ_{2}y_{t−2},σ)"


# ---------------------------------------------------------------- regressions


def test_correlated_group_effects(tmp_path: Path) -> None:
    priors = {"sd": {"default": {"dist": "HalfNormal", "sigma": 50}}, "cor": {"default": {"dist": "LKJ", "eta": 2}}}
    shown = regression(tmp_path, "sleepstudy", "Reaction ~ Days + (1 + Days | Subject)", "normal", priors=priors)
    assert shown[:4] == [
        "Reaction_{i} ∼ Normal(μ_{i},σ)",
        "μ_{i} = β_{0}+β_{Days}·Days_{i}+r_{Subject[i],0}+r_{Subject[i],Days}·Days_{i}",
        "Σ_{Subject} = diag(sd_{Subject})·cor_{Subject}·diag(sd_{Subject})",
        "r_{Subject,j} ∼ MvNormal(0,Σ_{Subject})",
    ]
    assert "sd_{Subject,k} ∼ Half-Normal(50)" in shown and "cor_{Subject} ∼ LKJ(2)" in shown


def test_groups_with_one_effect_have_one_sd(tmp_path: Path) -> None:
    shown = regression(tmp_path, "cbpp", "cbind(incidence, size - incidence) ~ C(period) + (1 | herd)", "binomial")
    assert shown[:2] == [
        "incidence_{i} ∼ Binomial(size_{i},μ_{i})",
        "logit(μ_{i}) = β_{0}+β_{period[i]}+r_{herd[i]}",
    ]
    assert "r_{herd,j} ∼ Normal(0,sd_{herd})" in shown
    assert any(line.startswith("sd_{herd} ∼ ") for line in shown)


def test_a_formula_by_parameter_and_an_interaction(tmp_path: Path) -> None:
    formula = {"mu": "log(Reaction) ~ Days * C(Subject)", "sigma": "~ Days"}
    shown = regression(tmp_path, "sleepstudy", formula, "student")
    assert shown[:3] == [
        "log(Reaction_{i}) ∼ Student-t(ν,μ_{i},σ_{i})",
        "μ_{i} = β_{0}+β_{Days}·Days_{i}+β_{Subject[i]}+β_{Days,Subject[i]}·Days_{i}",
        "log(σ_{i}) = β_{0}^{σ}+β_{Days}^{σ}·Days_{i}",
    ]


def test_offsets_counts_and_ordered_levels(tmp_path: Path) -> None:
    counts = regression(tmp_path, "cbpp", "incidence ~ 1 + offset(log(size))", "negative_binomial")
    assert counts[:2] == ["incidence_{i} ∼ NegBinomial(μ_{i},α)", "log(μ_{i}) = β_{0}+log(size_{i})"]
    levels = regression(tmp_path, "cbpp", "period ~ incidence", "cumulative")
    assert levels[:2] == ["period_{i} ∼ OrderedLogistic(η_{i},cutpoints)", "η_{i} = β_{incidence}·incidence_{i}"]


def test_a_term_that_does_not_write_itself_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = RegressionSpec(name="m", type="regression", formula="y ~ x + (1 | g)", family="normal")
    this = regression_statements.plans_of(spec)[""]
    terms = (*this.predictors["mu"].terms, object())
    predictors = {**this.predictors, "mu": replace(this.predictors["mu"], terms=terms)}
    monkeypatch.setattr(regression_statements, "plans_of", lambda _: {"": replace(this, predictors=predictors)})
    with pytest.raises(TypeError, match="object can't be written down"):
        statements(spec, None)


@pytest.mark.parametrize("name", sorted(FAMILY_TABLE))
def test_every_family_has_formulas(name: str) -> None:
    left = {"trials": "y | trials(n)", "counts": "cbind(a, b, c)"}.get(FAMILY_TABLE[name].values, "y")
    content = {"name": "m", "type": "regression", "family": name, "formula": f"{left} ~ x + (1 | g)"}
    dims = dict.fromkeys(("a", "b", "c", "g", "n", "x", "y"), ("obs",))
    spec = RegressionSpec.model_validate(content)
    shown = lines(Notation(WrittenModel(tuple(statements(spec, None)), dims, {"obs": 9}, "obs")))
    assert " ∼ " in shown[0] and "None" not in shown[0] and "r_{g[i]}" in shown[1]
    if name == "multinomial":
        assert shown[0] == "(a_{i},b_{i},c_{i}) ∼ MultinomialLogit(n=a_{i}+b_{i}+c_{i},η)"
        assert shown[1] == "η_{k} = β_{0}^{k}+β_{x}^{k} x_{i}+r_{g[i]}"


# ---------------------------------------------------------------- the language


def test_correlations_potentials_modifiers_and_long_expressions(tmp_path: Path) -> None:
    data = {"source": "inline", "values": {"y": [0.1, 0.4, 0.3], "x": [1.0, 2.0, 4.0], "w": [1, 2, 1]}}
    model = {
        "type": "declarative",
        "priors": {
            "chol": {"dist": "LKJCholeskyCov", "n": 2, "eta": 2, "sd_dist": {"dist": "Exponential", "lam": 1}},
            "b": {"dist": "MvNormal", "mu": 0, "chol": "chol", "shape": 2},
            "sigma": {"dist": "HalfNormal", "sigma": 1.0e-6},
        },
        "deterministics": {"mean_x": "mean(x)", "share": "sigmoid(b[0]) / (1 + exp(-b[1] * zscore(x)))"},
        "potentials": {"soft": "-0.5 * (b[0] + b[1])**2 / 0.01"},
        "likelihood": {
            "y": {
                "dist": "Normal",
                "mu": "b[0] + b[1] * log(x + 1) - sqrt(abs(x)) * sum(b) + where(x > 2, 1, 0)",
                "sigma": "sigma",
                "observed": "y",
                "weights": "w",
                "truncated": {"lower": 0},
            }
        },
    }
    shown = lines(own(tmp_path, data, **model))
    assert shown == [
        "y_{i} ∼ Normal(μ_{i},σ) on [0,∞], weights w_{i}",
        "μ_{i} = b_{0}+b_{1} log(x_{i}+1)−sqrt(|x_{i}|) (∑jb_{j})+(1; if x_{i}>2 | 0; otherwise | )",
        "mean_x = x¯",
        "share_{i} = (logit^{−1}(b_{0}))/(1+exp(−b_{1} (x_{i}−x¯)/(sd(x))))",
        "log p += (−0.5 (b_{0}+b_{1})^{2})/(0.01)",
        "b ∼ MvNormal(0,chol)",
        "chol ∼ LKJCholeskyCov(η=2,sd=Exponential(1))",
        "σ ∼ Half-Normal(10^{−6})",
    ]


def test_each_line_is_read_aloud_and_its_names_stay_text() -> None:
    hostile = '<img src=x onerror="alert(1)">'
    prior = {"dist": "Normal", "mu": f"{hostile} +", "sigma": 1}
    formula, second = Notation(
        WrittenModel((Statement("prior", hostile, (), prior), Statement("prior", "mu_alpha", (), {"dist": "Flat"})))
    ).formulas
    assert "<img" not in formula.left + "".join(formula.right)
    assert second.spoken == "mu alpha is distributed as Flat"


def test_differential_equations_are_set_as_such() -> None:
    found = lines(Notation(written(parsed("model=lotka_volterra"))))
    assert "(dprey)/(dt) = (growth−hunting·predators)·prey" in found
    assert "prey(0) = start_{0}" in found


def test_a_gaussian_process_has_its_kernel() -> None:
    (line, *_) = lines(Notation(written(parsed("model=gaussian_process"))))
    assert line == "y ∼ GP(0,exp quad(sd=height,lengthscale=scale)+σ^{2}I)"
    process = "{dist: GaussianProcess, x: [x, y], kernel: {product: [{sum: [{constant: {sd: 2}}, {linear: {}}]}, "
    body = yaml.safe_load(process + "{matern32: {lengthscale: [1, 2]}}]}}")
    (line,) = lines(Notation(WrittenModel((Statement("prior", "f", ("row",), body),), sizes={"row": 3})))
    assert line.endswith("GP(0,(constant(sd=2)+linear)matern32(lengthscale=[1,2]))")


@pytest.mark.parametrize(
    "model",
    [
        "garch",
        "lotka_volterra",
        "gaussian_process",
        "hilbert_space_process",
        "zero_inflated_counts",
        "robust_regression",
        "glm",
        "regression",
    ],
)
def test_every_shipped_model_has_formulas_that_are_well_formed(model: str) -> None:
    shown = lines(notation(f"model={model}"))
    assert len(shown) > 3 and " ∼ " in shown[0]
