"""The dashboard and the rules for Prometheus ask for what a running service really tells."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.observing.exposition import Exposition, exposition, settled
from tests.server import DEMO_BYTES, scenario, serving, split, uploaded

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARD = DEPLOY / "grafana" / "kerf.json"
FUNCTIONS = {
    *("absent", "histogram_quantile", "increase", "label_values", "rate", "vector"),
    *("count", "min", "sum"),
}
WORDS = {"and", "by", "on", "or"}
OF_THE_SCRAPER = {"instance", "job"}
"""Labels that Prometheus itself gives to all that it scrapes."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Exposition:
    """What a service tells after a little of everything."""
    with serving(tmp_path_factory.mktemp("kerf")) as server:
        client = server.client()
        split(client, scenario(uploaded(client, DEMO_BYTES)["id"]))
        httpx.get(f"{server.url}/nowhere")
        exposition(server.url)
        return settled(server.url, lambda told: told.total("kerf_http_requests_total") > 4)


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    """All rules."""
    document = yaml.safe_load(RULES.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard, but for the headings."""
    found = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def expressions(rules: list[dict[str, Any]]) -> Iterator[str]:
    """Every query of the rules and of the dashboard."""
    yield from (rule["expr"] for rule in rules)
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def test_every_query_asks_for_what_there_is(told: Exposition, rules: list[dict[str, Any]]) -> None:
    """Every metric that is named in a rule or on the dashboard is told by a running service, or is
    recorded by a rule; and has every label by which it is chosen, with the value, and those by
    which it is summed."""
    recorded = {rule["record"] for rule in rules if "record" in rule}
    labels = {"le"} | {label for sample in told.samples for label in sample.labels}
    seen = set()
    for text in expressions(rules):
        plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", "", text)
        for grouping in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", plain):
            named = {label.strip() for label in grouping.split(",")} - {""}
            assert named <= labels | OF_THE_SCRAPER, text
        plain = re.sub(r"\b(by|on)\s*\([^)]*\)", r"\1", plain)
        names = set(re.findall(r"[a-zA-Z_:][\w:]*", plain)) - FUNCTIONS - WORDS - OF_THE_SCRAPER
        assert names, text
        for name in names:
            assert name in recorded or list(told.named(name)), f"{name} in {text}"
            seen.add(name)
        for name, selector in re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", text):
            for label, how, value in re.findall(r"(\w+)\s*(=~|=|!~|!=)\s*\"([^\"]*)\"", selector):
                assert label in labels | OF_THE_SCRAPER, text
                if label not in OF_THE_SCRAPER:
                    assert _is_told(told, name, recorded, label, how, value), (label, value, text)
    assert len(seen) > 20


def _is_told(
    told: Exposition, name: str, recorded: set[str], label: str, how: str, value: str
) -> bool:
    """Whether a label ever has such a value."""
    if label == "status":
        return any(re.fullmatch(value, str(status)) for status in (404, 500, 503))
    of_metric = (
        told.values(label)
        if name in recorded
        else {sample.labels[label] for sample in told.named(name)}
    )
    if how in ("=", "!="):
        return value in of_metric
    return {*value.split("|")} <= of_metric


def test_every_metric_is_on_the_dashboard(told: Exposition) -> None:
    """The dashboard shows every metric of the service."""
    text = DASHBOARD.read_text()
    for sample in told.samples:
        name = re.sub(r"_(sum|count|bucket)$", "", sample.name)
        assert name in text, sample.name


def test_rules_are_well_formed(rules: list[dict[str, Any]]) -> None:
    """Every alert has a name of its own, how urgent it is, a summary and a description; recorded
    metrics are named by level, metric and operation."""
    alerts = [rule for rule in rules if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) >= 10
    for rule in alerts:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert re.fullmatch(r"Kerf[A-Z]\w+", rule["alert"])
    for rule in rules:
        if "record" in rule:
            assert set(rule) == {"record", "expr"}
            assert re.fullmatch(r"kerf:\w+:\w+", rule["record"])


def test_dashboard_is_well_formed() -> None:
    """Panels have ids, titles, descriptions, units and places of their own, and take the data
    source that is chosen above."""
    document = json.loads(DASHBOARD.read_text())
    assert document["uid"] == "kerf"
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    places: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & places, panel["title"]
        assert max(x for x, _ in cells) < 24
        places |= cells
    for panel in panels():
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def test_promtool_takes_the_rules() -> None:
    """Prometheus' own tool finds nothing wrong with the rules."""
    promtool = shutil.which("promtool")
    assert promtool, "no promtool: install it with scripts/ensure_package.sh prometheus promtool"
    done = subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", str(RULES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
