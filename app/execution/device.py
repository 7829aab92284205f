"""The device's side: rounds of a split inference, measured."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx.helper import np_dtype_to_tensor_dtype

from app.core.quantities import Delay
from app.errors import CannotRunError
from app.execution.address import Address
from app.execution.calling import Answer, Call, call
from app.execution.clocks import NS, ClockedRound, Ping, delays_of, device_alone
from app.execution.errors import BrokenLinkError, OtherHalfError
from app.execution.half import Half
from app.execution.messages import Hello, Port, Welcome
from app.execution.plan import OnEvent, OnRound, Plan
from app.execution.results import Execution
from app.halves.comparison import Value, kind_of
from app.ingest.element_types import ELEMENT_TYPES
from app.ingest.notes import listed


def run_rounds(
    device: Half | None,
    server: Address | None,
    feeds: Mapping[str, Value],
    plan: Plan | None = None,
    *,
    on_round: OnRound | None = None,
    on_event: OnEvent | None = None,
) -> Execution:
    """Run a model round after round, as its halves, and measure each round.

    ``device``: None where all of it runs on the server, which is then sent ``feeds`` as they are.
    ``server``: None where all of it runs on the device. ``feeds``: a value for each input of the
    model. A round that is interrupted is done again on a new connection, and ``on_event`` is told.

    Raises ``CannotRunError`` where either half cannot run on what it is given, ``OtherHalfError``
    where the halves do not belong together, ``NoServerError``, ``BusyServerError``,
    ``BrokenLinkError`` where the connection broke too often, and ``NotOurProtocolError``.
    """
    if plan is None:
        plan = Plan()
    if device is not None:
        _require_inputs(device, feeds)
    if server is not None:
        rounds = _Rounds(device, server, feeds, plan, on_round, on_event)
        return rounds.run()
    if device is None:
        raise CannotRunError("there is nothing to run: neither a device half nor a server")
    return _run_alone(device, feeds, plan, on_round)


def _require_inputs(device: Half, feeds: Mapping[str, Value]) -> None:
    missing = [name for name in device.inputs if name not in feeds]
    if missing:
        raise CannotRunError(f"no values are given for the model's inputs {listed(missing)}")


def _run_alone(
    device: Half, feeds: Mapping[str, Value], plan: Plan, on_round: OnRound | None
) -> Execution:
    if device.identity.other_half:
        raise OtherHalfError(
            f"the rest of the model is in {device.identity.other_half}; have kerf run-server run "
            "it, and name its address"
        )
    delays: list[Delay] = []
    outputs: Mapping[str, Value] = {}
    for number in range(plan.warm_up_rounds + plan.rounds):
        started_ns = time.perf_counter_ns()
        outputs = device.run(feeds)
        computed_ns = time.perf_counter_ns()
        if number >= plan.warm_up_rounds:
            delays.append(device_alone(started_ns, computed_ns))
            if on_round is not None:
                on_round(len(delays), plan.rounds)
    return Execution(
        rounds=tuple(delays),
        warm_up_rounds=plan.warm_up_rounds,
        sent_bytes=0,
        received_bytes=0,
        device=device.runtime,
        server=None,
        pings_s=(),
        interruptions=(),
        device_outputs=outputs,
        server_outputs={},
        crossing_dtypes=frozenset(),
        smashed_dtype=None,
    )


@dataclass(slots=True)
class _Rounds:
    """Rounds over a link, on one connection after the other where it breaks."""

    device: Half | None
    server: Address
    feeds: Mapping[str, Value]
    plan: Plan
    on_round: OnRound | None
    on_event: OnEvent | None
    delays: list[Delay] = field(default_factory=list)
    pings: list[Ping] = field(default_factory=list)
    interruptions: list[str] = field(default_factory=list)
    made: Mapping[str, Value] = field(default_factory=dict)
    last: Answer | None = None
    welcome: Welcome | None = None

    def run(self) -> Execution:
        hello = _hello(self.device, self.feeds, self.plan.parameters)
        while len(self.delays) < self.plan.rounds:
            try:
                with call(self.server, hello, self.plan.wait_s, self.plan.silence_s) as server:
                    self._on_one_connection(server)
            except BrokenLinkError as error:
                self._interrupted(error)
        assert self.last is not None, "a round has been done"
        assert self.welcome is not None
        return Execution(
            rounds=tuple(self.delays),
            warm_up_rounds=self.plan.warm_up_rounds,
            sent_bytes=self.last.sent_bytes,
            received_bytes=self.last.received_bytes,
            device=self.device.runtime if self.device else None,
            server=self.welcome.runtime,
            pings_s=tuple(ping.round_trip_ns * NS for ping in self.pings),
            interruptions=tuple(self.interruptions),
            device_outputs=self.made if self.device else {},
            server_outputs=self.last.results,
            crossing_dtypes=frozenset(port.dtype for port in self.welcome.takes),
            smashed_dtype=self.welcome.half.smashed_dtype or None,
        )

    def _on_one_connection(self, server: Call) -> None:
        """All rounds that are left, or those until the connection breaks."""
        self.welcome = server.welcome
        server.send_parameters(self.feeds)
        bursts = [server.pings()]
        measured: list[ClockedRound] = []
        wanted = self.plan.rounds - len(self.delays)
        try:
            for number in range(self.plan.warm_up_rounds + wanted):
                clocked = self._round(server, number + 1)
                if number >= self.plan.warm_up_rounds:
                    measured.append(clocked)
                    self._report(len(self.delays) + len(measured))
            bursts.append(server.pings())
        finally:
            self.delays += delays_of(measured, bursts)
            self.pings += [ping for burst in bursts for ping in burst]

    def _round(self, server: Call, number: int) -> ClockedRound:
        started_ns = computed_ns = time.perf_counter_ns()
        if self.device is None:
            self.made = self.feeds
        else:
            self.made = self.device.run(self.feeds)
            computed_ns = time.perf_counter_ns()
        self.last = server.round(number, self.made)
        ended_ns = time.perf_counter_ns()
        return ClockedRound(
            started_ns, computed_ns, self.last.arrived_ns, self.last.served_ns, ended_ns
        )

    def _report(self, done: int) -> None:
        if self.on_round is not None:
            self.on_round(done, self.plan.rounds)

    def _interrupted(self, error: BrokenLinkError) -> None:
        """Keep in mind that the connection broke. Raises the error where that was too often."""
        self.interruptions.append(error.detail)
        if len(self.delays) == self.plan.rounds:
            return
        if len(self.interruptions) > self.plan.retries:
            raise error
        if self.on_event is not None:
            self.on_event(f"{error.detail}; connecting again")


def _hello(device: Half | None, feeds: Mapping[str, Value], parameters: Collection[str]) -> Hello:
    """What a device gives: what its half makes, else the inputs as they are; and parameters."""
    ports = {name: _port(name, value) for name, value in feeds.items()}
    once = [ports[name] for name in parameters if name in ports]
    if device is not None:
        return Hello(half=device.identity, gives=device.gives, parameters=once)
    given = [port for name, port in ports.items() if name not in parameters]
    return Hello(half=None, gives=given, parameters=once)


def _port(name: str, value: Value) -> Port:
    if not isinstance(value, np.ndarray):
        return Port(name=name, dtype=kind_of(value))
    try:
        dtype = ELEMENT_TYPES[np_dtype_to_tensor_dtype(value.dtype)].name
    except ValueError:  # What ONNX does not know is better told with what is expected.
        dtype = value.dtype.name
    return Port(name=name, dtype=dtype, shape=[*value.shape])
