"""The pods satisfy the "restricted" Pod Security Standard, and what would not is found."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.files import KUSTOMIZATIONS, pods
from tests.deploy.pod_security import RESTRICTED, violations

Change = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_pods_are_restricted(kustomization: str) -> None:
    """No pod has a value in any field that the standard forbids there."""
    found = pods(kustomization)
    assert set(found) == {"Deployment", "Job"}
    assert {kind: violations(pod) for kind, pod in found.items()} == {"Deployment": [], "Job": []}


def _pod(**fields: object) -> Change:
    return lambda pod: pod["spec"].update(fields)


def _pod_security(**fields: object) -> Change:
    return lambda pod: pod["spec"]["securityContext"].update(fields)


def _container(**fields: object) -> Change:
    return lambda pod: pod["spec"]["containers"][0].update(fields)


def _security(**fields: object) -> Change:
    return lambda pod: pod["spec"]["containers"][0]["securityContext"].update(fields)


def _without(field: str) -> Change:
    def change(pod: dict[str, Any]) -> None:
        pod["spec"]["containers"][0]["securityContext"].pop(field, None)
        pod["spec"]["securityContext"].pop(field, None)

    return change


def _init_container(pod: dict[str, Any]) -> None:
    pod["spec"]["initContainers"] = [{"name": "first", "image": "kerf"}]


def _ephemeral_container(pod: dict[str, Any]) -> None:
    pod["spec"]["ephemeralContainers"] = [
        {"name": "debugger", "image": "kerf", "securityContext": {"privileged": True}}
    ]


def _annotation(pod: dict[str, Any]) -> None:
    name = "container.apparmor.security.beta.kubernetes.io/kerf"
    pod["metadata"].setdefault("annotations", {})[name] = "unconfined"


FORBIDDEN: dict[str, tuple[Change, ...]] = {
    "HostProcess": (
        _pod_security(windowsOptions={"hostProcess": True}),
        _security(windowsOptions={"hostProcess": True}),
    ),
    "Host Namespaces": (_pod(hostNetwork=True), _pod(hostPID=True), _pod(hostIPC=True)),
    "Privileged Containers": (_security(privileged=True), _ephemeral_container),
    "Capabilities (added)": (
        _security(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "CHOWN"]}),
    ),
    "Capabilities (dropped)": (
        _security(capabilities={"drop": ["NET_RAW"]}),
        _without("capabilities"),
        _init_container,
    ),
    "HostPath Volumes": (_pod(volumes=[{"name": "etc", "hostPath": {"path": "/etc"}}]),),
    "Host Ports": (_container(ports=[{"containerPort": 8000, "hostPort": 80}]),),
    "Host Probes / Lifecycle Hooks": (
        _container(livenessProbe={"httpGet": {"port": 80, "host": "10.0.0.1"}}),
        _container(startupProbe={"tcpSocket": {"port": 80, "host": "10.0.0.1"}}),
        _container(lifecycle={"preStop": {"httpGet": {"port": 80, "host": "10.0.0.1"}}}),
    ),
    "AppArmor": (
        _pod_security(appArmorProfile={"type": "Unconfined"}),
        _security(appArmorProfile={"type": "Unconfined"}),
    ),
    "AppArmor (annotations)": (_annotation,),
    "SELinux (type)": (_security(seLinuxOptions={"type": "spc_t"}),),
    "SELinux (user and role)": (
        _pod_security(seLinuxOptions={"user": "system_u"}),
        _security(seLinuxOptions={"role": "system_r"}),
    ),
    "/proc Mount Type": (_security(procMount="Unmasked"),),
    "Sysctls": (_pod_security(sysctls=[{"name": "kernel.msgmax", "value": "1"}]),),
    "Volume Types": (_pod(volumes=[{"name": "share", "nfs": {"server": "nfs", "path": "/"}}]),),
    "Privilege Escalation": (
        _security(allowPrivilegeEscalation=True),
        _without("allowPrivilegeEscalation"),
        _init_container,
    ),
    "Running as Non-root": (
        _pod_security(runAsNonRoot=False),
        _security(runAsNonRoot=False),
        _without("runAsNonRoot"),
    ),
    "Running as Non-root user": (_pod_security(runAsUser=0), _security(runAsUser=0)),
    "Seccomp (pod)": (_pod_security(seccompProfile={"type": "Unconfined"}),),
    "Seccomp": (
        _security(seccompProfile={"type": "Unconfined"}),
        _without("seccompProfile"),
    ),
}


@pytest.mark.parametrize(
    ("control", "change"),
    [(control, change) for control, changes in FORBIDDEN.items() for change in changes],
)
def test_what_the_standard_forbids_is_found(control: str, change: Change) -> None:
    """A pod that breaks a control is reported under that control's name."""
    pod = copy.deepcopy(pods("base")["Deployment"])
    change(pod)
    assert control in {each.partition(":")[0] for each in violations(pod)}


def test_every_control_is_tried() -> None:
    """Every control of the table has a pod that breaks it."""
    assert set(FORBIDDEN) == {control.name for control in RESTRICTED}
