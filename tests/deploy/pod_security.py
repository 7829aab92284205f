"""The "restricted" Pod Security Standard of Kubernetes, one row per control.

After https://kubernetes.io/docs/concepts/security/pod-security-standards/ (as of Kubernetes 1.34):
"restricted" is all of "baseline" and more; where both have a control, the narrower is here. Fields
are named as there, with ``CONTAINER`` for those of every kind of container.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

CONTAINER = "spec.*containers[*]"
KINDS = ("containers", "initContainers", "ephemeralContainers")
PROBES = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart")
HOOKS = (*PROBES, "lifecycle.preStop")

Allowed = Callable[[Any], bool]


def one_of(*values: object) -> Allowed:
    """These values and no other; None stands for a field that is not there."""
    return lambda value: any(value is each or value == each for each in values)


UNSET_OR_FALSE = one_of(None, False)
UNSET = one_of(None)


@dataclass(frozen=True)
class Control:
    """A control: what it is called, the fields that it is about, and what they may hold."""

    name: str
    fields: tuple[str, ...]
    allowed: Allowed
    or_of_pod: str | None = None
    """The field of the whole pod that counts where a container's is not there."""


def _each_in(*values: str) -> Allowed:
    return lambda given: given is None or set(given) <= set(values)


def _localhost_or(*values: str | None) -> Allowed:
    return lambda value: value in values or (value or "").startswith("localhost/")


def _of_volume_types(volume: Any) -> bool:
    return set(volume) - {"name"} <= {
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
        *("persistentVolumeClaim", "projected", "secret"),
    }


def _security(field: str, pod: bool = True) -> tuple[str, ...]:
    of_pod = (f"spec.securityContext.{field}",) if pod else ()
    return (*of_pod, f"{CONTAINER}.securityContext.{field}")


_PROFILES = one_of("RuntimeDefault", "Localhost")
_SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)

RESTRICTED = (
    Control("HostProcess", _security("windowsOptions.hostProcess"), UNSET_OR_FALSE),
    Control(
        "Host Namespaces", ("spec.hostNetwork", "spec.hostPID", "spec.hostIPC"), UNSET_OR_FALSE
    ),
    Control("Privileged Containers", _security("privileged", pod=False), UNSET_OR_FALSE),
    Control(
        "Capabilities (added)",
        _security("capabilities.add", pod=False),
        _each_in("NET_BIND_SERVICE"),
    ),
    Control(
        "Capabilities (dropped)",
        _security("capabilities.drop", pod=False),
        lambda dropped: "ALL" in (dropped or ()),
    ),
    Control("HostPath Volumes", ("spec.volumes[*].hostPath",), UNSET),
    Control("Host Ports", (f"{CONTAINER}.ports[*].hostPort",), one_of(None, 0)),
    Control(
        "Host Probes / Lifecycle Hooks",
        tuple(
            f"{CONTAINER}.{hook}.{way}.host" for hook in HOOKS for way in ("httpGet", "tcpSocket")
        ),
        one_of(None, ""),
    ),
    Control(
        "AppArmor",
        _security("appArmorProfile.type"),
        one_of(None, "RuntimeDefault", "Localhost"),
    ),
    Control(
        "AppArmor (annotations)",
        ("metadata.annotations[container.apparmor.security.beta.kubernetes.io/]",),
        _localhost_or(None, "runtime/default"),
    ),
    Control(
        "SELinux (type)",
        _security("seLinuxOptions.type"),
        one_of(
            *(None, "", "container_t", "container_init_t"),
            *("container_kvm_t", "container_engine_t"),
        ),
    ),
    Control(
        "SELinux (user and role)",
        (*_security("seLinuxOptions.user"), *_security("seLinuxOptions.role")),
        one_of(None, ""),
    ),
    Control("/proc Mount Type", _security("procMount", pod=False), one_of(None, "Default")),
    Control("Sysctls", ("spec.securityContext.sysctls[*].name",), one_of(*_SYSCTLS)),
    Control("Volume Types", ("spec.volumes[*]",), _of_volume_types),
    Control(
        "Privilege Escalation", _security("allowPrivilegeEscalation", pod=False), one_of(False)
    ),
    Control(
        "Running as Non-root",
        _security("runAsNonRoot", pod=False),
        one_of(True),
        or_of_pod="spec.securityContext.runAsNonRoot",
    ),
    Control("Running as Non-root user", _security("runAsUser"), lambda user: user != 0),
    Control(
        "Seccomp (pod)",
        ("spec.securityContext.seccompProfile.type",),
        lambda value: value is None or _PROFILES(value),
    ),
    Control(
        "Seccomp",
        _security("seccompProfile.type", pod=False),
        _PROFILES,
        or_of_pod="spec.securityContext.seccompProfile.type",
    ),
)


def violations(pod: dict[str, Any]) -> list[str]:
    """What of a pod (or of the template of one) the standard forbids: control, field and value."""
    found = []
    for control in RESTRICTED:
        for field in control.fields:
            for value in _values(pod, field):
                counts = value
                if value is None and control.or_of_pod is not None:
                    (counts,) = _values(pod, control.or_of_pod)
                if not control.allowed(counts):
                    found.append(f"{control.name}: {field} is {counts!r}")
    return found


def _values(node: Any, field: str) -> Iterator[Any]:
    """The values of a field, of each container, port or volume where it is one of theirs; None
    where it is not there."""
    if not field:
        yield node
        return
    step, _, rest = field.partition(".")
    if field.startswith(CONTAINER):
        for kind in KINDS:
            yield from _values(node, f"spec.{kind}[*]{field.removeprefix(CONTAINER)}")
    elif step.endswith("[*]"):
        for each in (node or {}).get(step.removesuffix("[*]")) or ():
            yield from _values(each, rest)
    elif field.endswith("/]"):
        name, _, prefix = field.removesuffix("]").partition("[")
        *outer, last = name.split(".")
        for key in outer:
            node = (node or {}).get(key)
        annotations = (node or {}).get(last) or {}
        yield from (value for key, value in annotations.items() if key.startswith(prefix))
    else:
        yield from _values((node or {}).get(step), rest)
