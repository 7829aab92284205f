"""What the files of the deployment set are settings."""

import re

from app.settings import Settings
from tests.deploy.files import KUBERNETES, ROOT

README = (ROOT / "README.md").read_text("utf-8")
FILES = [
    ROOT / "Dockerfile",
    ROOT / "docker-compose.yml",
    *sorted(KUBERNETES.rglob("*.yaml")),
]


def test_every_variable_is_a_setting() -> None:
    """Every variable of Kerf's in Dockerfile, compose file and manifests is a setting that exists,
    and stands in README.md's table of them."""
    table = set(re.findall(r"^\| `(KERF_\w+)` \|", README, re.MULTILINE))
    known = {f"KERF_{name}".upper() for name in Settings.model_fields}
    for path in FILES:
        # But for the name of a variable that the manifests speak of because it is none.
        text = path.read_text("utf-8").replace("KERF_PORT", "")
        named = set(re.findall(r"\bKERF_[A-Z_]+\b", text))
        assert named <= known, path
        assert named <= table, path
    assert len(FILES) > 8
