"""The manifests under deploy/kubernetes, as kubectl renders them."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from app import __version__
from app.main import create_app
from app.settings import Settings
from tests.deploy.files import KUBERNETES, KUSTOMIZATIONS, containers, final, one, pods, rendered

BESIDES_BYTES = 512 * 2**20
"""For the service itself beside its cache and the processes that read models; some 270 MiB when it
has read a model (`make image` tells)."""
LEFT_FREE_BYTES = 64 * 2**20
"""That the service leaves of the disk with uploads."""
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "m": 0.001, "": 1}

pytestmark = pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)


def quantity(text: object) -> float:
    """A number as Kubernetes writes it."""
    match = re.fullmatch(r"(\d+)(\w*)", str(text))
    assert match, text
    return int(match[1]) * UNITS[match[2]]


def settings_of(kustomization: str) -> Settings:
    """The settings of the service, but for what is secret."""
    variables = one(kustomization, "ConfigMap")["data"]
    named = {name.removeprefix("KERF_").lower(): value for name, value in variables.items()}
    return Settings(data_dir=Path("/data"), auth="keys", **named)


def selects(selector: dict[str, Any], pod: dict[str, Any]) -> bool:
    """Whether a pod has all labels of a selector."""
    labels: dict[str, Any] = pod["metadata"]["labels"]
    return selector.items() <= labels.items()


def test_objects_are_valid(kustomization: str) -> None:
    """Every object is one of the newest Kubernetes that there is a schema of, with no field that it
    does not know."""
    newest = kubernetes_validate.latest_version()
    for each in rendered(kustomization):
        kubernetes_validate.validate(each, newest, strict=True)


def test_objects_are_those_promised(kustomization: str) -> None:
    """There is what an operator counts on, under one name and in the kustomization's namespace; no
    Secret is among it."""
    kinds = sorted(each["kind"] for each in rendered(kustomization) if each["kind"] != "Namespace")
    assert kinds == [
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    ]
    objects = [each for each in rendered(kustomization) if each["kind"] != "Namespace"]
    for each in objects:
        assert each["metadata"]["labels"]["app.kubernetes.io/name"] == "kerf"
    namespaces = {each["metadata"].get("namespace") for each in objects}
    assert namespaces == ({None} if kustomization == "base" else {"kerf"})


def test_every_file_is_used(kustomization: str) -> None:
    """Every file beside a kustomization is one of its resources."""
    directory = KUBERNETES / kustomization
    listed = (directory / "kustomization.yaml").read_text("utf-8")
    for path in directory.glob("*.yaml"):
        assert path.name == "kustomization.yaml" or f"- {path.name}\n" in listed


def test_selectors_find_the_pods(kustomization: str) -> None:
    """Service, disruption budget and spreading select the pods of the Deployment and not that of
    the migration; the network policy selects both; the autoscaler scales the Deployment."""
    deployment, found = one(kustomization, "Deployment"), pods(kustomization)
    served, migrating = found["Deployment"], found["Job"]
    narrow = [
        deployment["spec"]["selector"]["matchLabels"],
        one(kustomization, "Service")["spec"]["selector"],
        one(kustomization, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        *(
            each["labelSelector"]["matchLabels"]
            for each in served["spec"]["topologySpreadConstraints"]
        ),
    ]
    for selector in narrow:
        assert selects(selector, served)
        assert not selects(selector, migrating)
    policy = one(kustomization, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"]
    assert selects(policy, served)
    assert selects(policy, migrating)
    target = one(kustomization, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert "replicas" not in deployment["spec"]


def test_ports_are_the_image_s(kustomization: str) -> None:
    """The container's port is the one that the image listens on; Service, probes, network policy
    and the annotations for Prometheus lead to it."""
    pod = pods(kustomization)["Deployment"]
    (container,) = containers(pod)
    (port,) = container["ports"]
    assert final("EXPOSE") == [str(port["containerPort"])]
    (served,) = one(kustomization, "Service")["spec"]["ports"]
    (let_in,) = one(kustomization, "NetworkPolicy")["spec"]["ingress"][0]["ports"]
    probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")]
    assert {served["targetPort"], let_in["port"], *(probe["port"] for probe in probes)} == {
        port["name"]
    }
    annotations = pod["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    assert annotations["prometheus.io/path"] == "/metrics"


def test_probes_ask_what_there_is(kustomization: str, tmp_path: Path) -> None:
    """Probes ask calls that exist; only readiness asks for what is outside of the process."""
    (container,) = containers(pods(kustomization)["Deployment"])
    asked = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness")}
    assert set(asked.values()) == {"/healthz"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    calls = create_app(Settings(data_dir=tmp_path)).openapi()["paths"]
    assert {*asked.values(), "/readyz"} <= set(calls)


def test_pods_have_no_more_than_they_need(kustomization: str) -> None:
    """Beyond the standard: root file systems are read-only, no token and no variables of services
    are in a pod, what it may take is said, and its image is this version's."""
    for pod in pods(kustomization).values():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["enableServiceLinks"] is False
        account = one(kustomization, "ServiceAccount")
        assert pod["spec"]["serviceAccountName"] == account["metadata"]["name"]
        assert account["automountServiceAccountToken"] is False
        security = pod["spec"]["securityContext"]
        assert final("USER") == [f"{security['runAsUser']}:{security['runAsGroup']}"]
        for container in containers(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]
            name, _, version = container["image"].rpartition(":")
            assert name.rpartition("/")[2] == "kerf"
            assert version == __version__


def test_secrets_are_referred_to(kustomization: str) -> None:
    """The database's URL comes from a Secret, which is not here, and no value is anywhere a
    password could be."""
    for pod in pods(kustomization).values():
        (container,) = containers(pod)
        (variable,) = container["env"]
        assert variable["name"] == "KERF_DATABASE_URL"
        assert set(variable["valueFrom"]) == {"secretKeyRef"}
    assert not re.search(r"://[^/\s]*@", str(rendered(kustomization)))


def test_settings_come_from_the_config_map(kustomization: str) -> None:
    """The settings are those of the ConfigMap, whose name changes with them."""
    (container,) = containers(pods(kustomization)["Deployment"])
    (source,) = container["envFrom"]
    name = one(kustomization, "ConfigMap")["metadata"]["name"]
    assert source == {"configMapRef": {"name": name}}
    assert re.fullmatch(r"kerf-settings-\w{10}", name)


def test_memory_is_enough(kustomization: str) -> None:
    """The limit of memory holds the cache, every process that reads a model at its own limit, and
    the service."""
    settings = settings_of(kustomization)
    (container,) = containers(pods(kustomization)["Deployment"])
    readers = settings.ingest_workers * settings.ingest_memory_bytes
    limit = quantity(container["resources"]["limits"]["memory"])
    assert limit >= settings.cache_bytes + readers + BESIDES_BYTES


def test_disk_is_enough(kustomization: str) -> None:
    """The volume for uploads holds as many of the largest as may arrive at a time, so the pod is
    not evicted for them; the limit of the disk holds all volumes; what is written goes to one."""
    settings = settings_of(kustomization)
    pod = pods(kustomization)["Deployment"]
    (container,) = containers(pod)
    sizes = {
        each["name"]: quantity(each["emptyDir"]["sizeLimit"]) for each in pod["spec"]["volumes"]
    }
    uploads = settings.queue_uploads * settings.upload_bytes
    assert sizes["data"] >= uploads + LEFT_FREE_BYTES
    assert quantity(container["resources"]["limits"]["ephemeral-storage"]) > sum(sizes.values())
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    assert mounts == {"/data": "data", "/tmp": "tmp"}
    assert final("VOLUME") == ['["/data"]']


def test_time_to_end_is_enough(kustomization: str) -> None:
    """A pod that is told to end has time for its drain, which is longer than others take to notice
    it, for requests under way, and as much again for what is then left to commit."""
    pod = pods(kustomization)["Deployment"]
    (container,) = containers(pod)
    settings = settings_of(kustomization)
    drain, rest = settings.drain_seconds, settings.end_seconds
    assert pod["spec"]["terminationGracePeriodSeconds"] >= drain + 2 * rest + 10
    readiness = container["readinessProbe"]
    assert drain > readiness["periodSeconds"] * readiness["failureThreshold"]


def test_migration_is_a_step_of_its_own(kustomization: str) -> None:
    """The Job runs `kerf migrate` and nothing else, and the Deployment what the image does."""
    found = pods(kustomization)
    (migration,) = containers(found["Job"])
    (service,) = containers(found["Deployment"])
    assert migration["args"] == ["migrate"]
    assert found["Job"]["spec"]["restartPolicy"] == "Never"
    assert not {"command", "args"} & set(service)


def test_replicas_are_replaced_one_by_one(kustomization: str) -> None:
    """There are never fewer replicas than there were before a roll-out, at least two of them, and
    the disruption budget lets one at a time be moved."""
    update = one(kustomization, "Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 1, "maxUnavailable": 0}
    assert one(kustomization, "HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2
    assert one(kustomization, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_the_network_is_closed_but_for_what_is_needed(kustomization: str) -> None:
    """Everything in and out is refused that the policy does not name, and it names no open door:
    who gets in is always said, and where to is always a port."""
    policy = one(kustomization, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert ports == ({53, 5432} if kustomization == "base" else {53, 5432, 443, 4318})
