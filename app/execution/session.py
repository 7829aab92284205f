"""What a server does for one device: from HELLO to BYE."""

import threading
import time
from dataclasses import dataclass

from app.core.errors import KerfError
from app.errors import CannotRunError
from app.execution.errors import BrokenLinkError, BusyServerError
from app.execution.half import Half
from app.execution.matching import Exchange, agree
from app.execution.messages import (
    Bye,
    Hello,
    Kind,
    Ping,
    Pong,
    Port,
    Refusal,
    Results,
    Tensors,
    Welcome,
    require_sizes,
)
from app.execution.plan import OnEvent
from app.execution.tensors import Array, Incoming, outgoing, require_due
from app.execution.wire import Connection, Message


@dataclass(frozen=True, slots=True)
class Served:
    """A half and what it is served with: seconds of silence, bytes of the tensors of a round.

    ``turn``: held by the session whose rounds are run.
    """

    half: Half
    silence_s: float
    most_bytes: int
    turn: threading.Lock


class Session:
    """One device; ``tell`` is called with sentences of what happens."""

    def __init__(self, served: Served, connection: Connection, tell: OnEvent) -> None:
        self._served = served
        self._connection = connection
        self._tell = tell
        self._incoming = Incoming()
        self._parameters: dict[str, Array] = {}
        self._rounds = 0
        self._doing = "before its HELLO"

    def run(self) -> None:
        """From HELLO to BYE. Raises ``LinkError`` and ``CannotRunError``."""
        hello = self._connection.expect().read(Kind.HELLO, Hello)
        self._doing = "at its HELLO"
        half = self._served.half
        exchange = agree(half, hello)
        if not self._served.turn.acquire(blocking=False):
            raise BusyServerError("it serves another device, and takes one at a time")
        try:
            welcome = Welcome(
                half=half.identity,
                takes=exchange.takes,
                parameters=exchange.parameters,
                gives=half.gives,
                most_bytes=self._served.most_bytes,
                runtime=half.runtime,
            )
            self._connection.silence_s = self._served.silence_s
            self._connection.send(Kind.WELCOME, welcome)
            self._tell("connected")
            self._serve(exchange)
        finally:
            self._served.turn.release()

    def tell_of(self, error: KerfError, *, is_stopping: bool) -> None:
        """Say why it ended before its time."""
        if is_stopping:
            self._tell(f"stopped {self._doing}")
        elif isinstance(error, BrokenLinkError):
            self._tell(f"the connection broke {self._doing}: {error.detail}")
        else:
            self._tell(f"refused {self._doing}: {error.detail}")

    def _serve(self, exchange: Exchange) -> None:
        while True:
            self._doing = f"after {_counted(self._rounds)}"
            message = self._connection.expect()
            received_ns = time.perf_counter_ns()
            if message.kind is Kind.PING:
                message.read(Kind.PING, Ping)
                pong = Pong(received_ns=received_ns, answered_ns=time.perf_counter_ns())
                self._connection.send(Kind.PONG, pong)
            elif message.kind is Kind.PARAMETERS:
                # Memory of their own: rounds come where the last one came.
                self._parameters = self._received(message, exchange.parameters, Incoming())
            elif message.kind is Kind.BYE:
                message.read(Kind.BYE, Bye)
                self._tell(f"done {self._doing}")
                return
            else:
                self._round(message, exchange)

    def _round(self, message: Message, exchange: Exchange) -> None:
        self._doing = f"in round {self._rounds + 1}, receiving its tensors"
        values = self._received(message, exchange.takes, self._incoming)
        arrived_ns = time.perf_counter_ns()
        self._doing = f"in round {self._rounds + 1}, computing"
        try:
            made = self._served.half.run(values | self._parameters)
        except CannotRunError as error:
            self.tell_of(error, is_stopping=False)
            refusal = Refusal(problem="cannot-run", detail=error.detail)
            self._connection.send(Kind.REFUSAL, refusal)
            return
        computed_ns = time.perf_counter_ns()
        self._doing = f"in round {self._rounds + 1}, sending its results"
        tensors, data = outgoing(made, self._served.half.gives)
        results = Results(tensors=tensors, arrived_ns=arrived_ns, computed_ns=computed_ns)
        self._connection.send(Kind.RESULTS, results, data)
        self._rounds += 1

    def _received(self, message: Message, due: list[Port], into: Incoming) -> dict[str, Array]:
        kind = Kind.PARAMETERS if message.kind is Kind.PARAMETERS else Kind.ROUND
        header = message.read(kind, Tensors)
        require_sizes(header.tensors, message.nbytes, self._served.most_bytes)
        require_due(header.tensors, due)
        return into.receive(self._connection, header.tensors)


def _counted(rounds: int) -> str:
    return "1 round" if rounds == 1 else f"{rounds} rounds"
