"""Links between two sides on one machine, as slow as they are said to be.

Where network namespaces are permitted, each side has its own, and ``tc`` holds the rates on a pair
of virtual interfaces between them. The kernel's delay (``netem``) is an extra module that many
machines lack, so a relay on the device's side holds back what passes for half a round trip each
way. Elsewhere both sides share the loopback interface, and the relay holds the rates as well.
"""

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from benchmarks.regret.slowdown import OTHER_CORE, hold_to

Side = Literal["device", "server"]
HARDEST_PACKET_BYTES = 1538
"""What a full packet is on a wire of Ethernet; ``tbf`` counts 14 bytes of it less."""
_BURST_S = 0.0003
_QUEUE_BYTES = 32 * 2**20
"""More than is ever under way, so that nothing is dropped."""


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """What a link is made to be."""

    name: str
    uplink_bits_per_s: float
    downlink_bits_per_s: float
    round_trip_s: float


def may_have_namespaces() -> bool:
    """Whether this machine lets this user make network namespaces and shape what passes."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("tc") is None:
        return False
    with ExitStack() as stack:
        try:
            stack.enter_context(_Namespaces()).shape(1e6, 1e6)
        except subprocess.CalledProcessError:
            return False
    return True


class ShapedLink:
    """A link whose figures may be changed. ``how``: in a sentence, for people.

    ``prefix``: what a command of a side begins with. ``host``: where the server listens.
    """

    def __init__(self) -> None:
        self._namespaces = _Namespaces() if may_have_namespaces() else None
        self._relay: subprocess.Popen[str] | None = None
        self._figures: LinkFigures | None = None
        if self._namespaces is None:
            self.host = "127.0.0.1"
            self.how = "sockets over loopback, rates and round trip held by a relay that paces"
        else:
            self.host = self._namespaces.address
            self.how = (
                "two network namespaces, rates held by tc (tbf), the round trip by a relay that "
                "holds back what passes"
            )

    def __enter__(self) -> "ShapedLink":
        if self._namespaces is not None:
            self._namespaces.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_relay()
        if self._namespaces is not None:
            self._namespaces.__exit__(kind, error, trace)

    def prefix(self, side: Side) -> list[str]:
        """What a command of this side begins with."""
        return [] if self._namespaces is None else self._namespaces.prefix(side)

    def shape(self, figures: LinkFigures) -> None:
        """From now on it is as these figures say; connections made before are cut."""
        self._figures = figures
        if self._namespaces is not None:
            self._namespaces.shape(figures.uplink_bits_per_s, figures.downlink_bits_per_s)
        self._end_relay()
        paced = self._namespaces is None
        rates = (figures.uplink_bits_per_s, figures.downlink_bits_per_s) if paced else (0.0, 0.0)
        arguments = [self.host, *(str(number) for number in (figures.round_trip_s / 2, *rates))]
        self._relay = subprocess.Popen(
            [*self.prefix("device"), sys.executable, "-m", "benchmarks.regret.relay", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: hold_to(OTHER_CORE),
        )

    def port_to(self, server_port: int) -> int:
        """The port at which the device finds, through the link, what the server has at a port."""
        assert self._relay is not None
        assert self._relay.stdin is not None
        assert self._relay.stdout is not None
        self._relay.stdin.write(f"{server_port}\n")
        self._relay.stdin.flush()
        return int(self._relay.stdout.readline())

    def _end_relay(self) -> None:
        if self._relay is not None:
            self._relay.kill()
            self._relay.communicate()
            self._relay = None


class _Namespaces:
    """Two network namespaces, joined by a pair of virtual interfaces."""

    def __init__(self) -> None:
        self._names: dict[Side, str] = {
            "device": f"kerf-d{os.getpid()}",
            "server": f"kerf-s{os.getpid()}",
        }
        self.address = "10.73.0.2"

    def __enter__(self) -> "_Namespaces":
        device, server = self._names["device"], self._names["server"]
        try:
            for name in (device, server):
                _call("ip", "netns", "add", name)
            _call("ip", "link", "add", "kerf", "netns", device, "type", "veth",
                  "peer", "name", "kerf", "netns", server)  # fmt: skip
            for side, address in (("device", "10.73.0.1"), ("server", self.address)):
                within = self.prefix(side)  # type: ignore[arg-type]
                _call(*within, "ip", "address", "add", f"{address}/24", "dev", "kerf")
                _call(*within, "ip", "link", "set", "kerf", "up")
                _call(*within, "ip", "link", "set", "lo", "up")
        except subprocess.CalledProcessError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)

    def prefix(self, side: Side) -> list[str]:
        return ["ip", "netns", "exec", self._names[side]]

    def shape(self, uplink_bits_per_s: float, downlink_bits_per_s: float) -> None:
        self._hold("device", uplink_bits_per_s)
        self._hold("server", downlink_bits_per_s)

    def _hold(self, side: Side, bits_per_s: float) -> None:
        """Hold the rate of what a side sends."""
        burst_bytes = max(HARDEST_PACKET_BYTES, round(bits_per_s / 8 * _BURST_S))
        _call(*self.prefix(side), "tc", "qdisc", "replace", "dev", "kerf", "root", "tbf",
              "rate", f"{bits_per_s:.0f}bit", "burst", str(burst_bytes),
              "limit", str(_QUEUE_BYTES))  # fmt: skip


def _call(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=True)
