"""Every alert stands on metrics that the code has."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from shieldx_operator.engine.measures import Measures
from shieldx_operator.engine.metrics import Metrics as OperatorMetrics
from shieldx_operator.kinds import kinds
from shieldx_operator.settings import OperatorSettings
from shieldx_runtime.core.metrics import Metrics as RuntimeMetrics
from shieldx_runtime.credits.sealing import SealingMetrics
from shieldx_runtime.shadow.service.telling import Told

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "charts" / "shieldx-platform" / "files" / "alerts.yaml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
METRIC = re.compile(r"\b(?:shieldx|credits|http|shadow)_[a-z0-9_]+")
SUFFIXES = ("_bucket", "_count", "_sum", "_total")


def families(registry: CollectorRegistry) -> set[str]:
    return {family.name for family in registry.collect()}


@pytest.fixture(scope="module")
def known() -> set[str]:
    measured = Measures.of(kinds(OperatorSettings.from_environment({}))).gauges
    runtime = RuntimeMetrics().registry
    SealingMetrics(runtime)
    Told(runtime)
    return families(OperatorMetrics().registry) | families(runtime) | set(measured)


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_names_existing_metrics_and_says_what_to_do(rule: dict[str, Any], known: set[str]) -> None:
    named = {re.sub(f"({'|'.join(SUFFIXES)})$", "", name) for name in METRIC.findall(rule["expr"])}
    assert named
    assert named <= known
    assert {"summary", "description"} <= set(rule["annotations"])
    assert rule["labels"]["severity"] in {"critical", "warning"}


def test_a_runbook_that_an_alert_names_is_there_and_says_when_it_is_for() -> None:
    named = {(r["alert"], n) for r in RULES for n in re.findall(r"runbook ([a-z-]+)", r["annotations"]["description"])}
    assert len(named) > 2
    for alert, name in named:
        assert f"`{alert}`" in (ROOT / "docs" / "runbooks" / f"{name}.md").read_text(encoding="utf-8"), name


def test_accounts_that_nobody_compares_are_told_after_ten_days() -> None:
    late, never = ({r["alert"]: r for r in RULES}[name] for name in ("CreditsNotReconciled", "CreditsNeverReconciled"))
    assert ("> 864000" in late["expr"], "> 0" in late["expr"], late["for"]) == (True, True, "1h")
    assert (never["expr"].endswith("== 0"), never["for"]) == (True, "10d")
