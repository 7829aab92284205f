"""Several processes of a service on one address, each with a socket of its own.

Processes that wait for connections on one socket get them unevenly: whoever wakes first takes all
that have come, and an orchestrator that opens its connections at once, and keeps them, would have
them all served by one process. Among sockets of their own Linux deals connections out evenly.
"""

import socket
import sys
from collections.abc import Callable

from uvicorn import Config
from uvicorn.supervisors import Multiprocess


def run_several(config: Config) -> None:
    """Run a service of ``config.workers`` processes until it is told to end.

    Raises ``SystemExit`` where the address cannot be had, which is logged.
    """
    listener = config.bind_socket()
    if sys.platform == "linux":
        # The first one has told whether the address is free; of those that share it none can.
        family, address = listener.family, listener.getsockname()
        listener.close()
        listener = Listener(family, address)
    Multiprocess(config, sockets=[listener]).run()


class Listener(socket.socket):
    """A socket that is bound to an address, and does not listen yet; handed to another process, it
    is another socket at the same address there."""

    def __init__(self, family: int, address: tuple[str, int]) -> None:
        super().__init__(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.bind(address)

    def __reduce__(self) -> tuple[Callable[..., "Listener"], tuple[int, tuple[str, int]]]:
        return Listener, (int(self.family), self.getsockname())
