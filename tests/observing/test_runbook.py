"""The runbook says what to do about every alert, and is true of what it names."""

import re
from pathlib import Path

import yaml

from app.settings import Settings

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text()
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"


def test_every_alert_has_its_entry() -> None:
    """Each alert has an entry with how urgent it is, its query as the rules have it, and what to
    do; and no entry is of an alert that there is not."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    entries = re.findall(r"^### (\w+) \((\w+)\)\n\n    (.+)\n\n((?:.+\n)+)", RUNBOOK, re.M)
    assert [entry[0] for entry in entries] == [rule["alert"] for rule in alerts]
    for (_, urgency, query, advice), rule in zip(entries, alerts, strict=True):
        assert urgency == rule["labels"]["severity"]
        assert query.split() == rule["expr"].split()
        assert len(advice) > 100


def test_settings_and_files_are_there() -> None:
    """Every setting and every file that the runbook names exists."""
    settings = {f"KERF_{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"KERF_[A-Z_]+", RUNBOOK))
    assert named
    assert named <= settings
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", RUNBOOK)
    assert links
    for link in links:
        assert (ROOT / "docs" / link).exists(), link
