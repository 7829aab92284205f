"""The files that Kerf is deployed by, as the programs read them that they are for."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
KUSTOMIZATIONS = ("base", "overlays/example")
OLDEST_KUBECTL = (1, 27)
"""The first with kustomize 5."""


@cache
def rendered(kustomization: str) -> tuple[dict[str, Any], ...]:
    """The objects that `kubectl apply -k` would send to a cluster."""
    kubectl = shutil.which("kubectl")
    wanted = (
        f"the manifests are rendered by kubectl {'.'.join(map(str, OLDEST_KUBECTL))} or newer "
        "(Debian's package is kubernetes-client)"
    )
    assert kubectl, wanted
    told = _output(kubectl, "version", "--client")
    version = re.search(r"^Client Version:.*?v(\d+)\.(\d+)", told, re.MULTILINE)
    assert version, f"{wanted}; this one says {told}"
    assert (int(version[1]), int(version[2])) >= OLDEST_KUBECTL, f"{wanted}; this one says {told}"
    text = _output(kubectl, "kustomize", str(KUBERNETES / kustomization))
    return tuple(yaml.safe_load_all(text))


def one(kustomization: str, kind: str) -> dict[str, Any]:
    """The one object of a kind."""
    (found,) = (each for each in rendered(kustomization) if each["kind"] == kind)
    return found


def pods(kustomization: str) -> dict[str, dict[str, Any]]:
    """The pods that the objects make, by the kinds of these."""
    return {
        each["kind"]: each["spec"]["template"]
        for each in rendered(kustomization)
        if "template" in each.get("spec", {})
    }


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers of a pod."""
    spec = pod["spec"]
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [container for kind in kinds for container in spec.get(kind, ())]


def compose() -> dict[str, Any]:
    """docker-compose.yml, variables not yet put in."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return loaded


@dataclass(frozen=True)
class Instruction:
    """One of a Dockerfile, its lines joined."""

    name: str
    text: str


def stages() -> list[list[Instruction]]:
    """The instructions of the Dockerfile's stages, each from its FROM on."""
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    found: list[list[Instruction]] = []
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            found.append([])
        if name and found:
            found[-1].append(Instruction(name, " ".join(rest.split())))
    return found


def final(name: str) -> list[str]:
    """What stands behind an instruction in the last stage, which is the image."""
    return [each.text for each in stages()[-1] if each.name == name]


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
