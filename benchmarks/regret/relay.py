"""``python -m benchmarks.regret.relay HOST DELAY_S UP DOWN``: a longer way to a host.

Reads ports of the host from standard input, line by line, and prints for each the port at which it
is to be found through the relay. What passes is held back for a delay each way; where a rate (in
bits per second) is not 0, it passes at that rate.
"""

import socket
import sys
import threading
import time
from contextlib import suppress
from queue import SimpleQueue

_PIECE_BYTES = 64 * 1024
_PACED_PIECE_BYTES = 4096


def main(host: str, delay_s: str, up: str, down: str) -> None:
    for line in sys.stdin:
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(
            target=_accept,
            args=(listener, (host, int(line)), float(delay_s), float(up), float(down)),
            daemon=True,
        ).start()
        print(listener.getsockname()[1], flush=True)


def _accept(
    listener: socket.socket, place: tuple[str, int], delay_s: float, up: float, down: float
) -> None:
    while True:
        near, _ = listener.accept()
        try:
            far = socket.create_connection(place)
        except OSError:
            near.close()
            continue
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, target, bits_per_s in ((near, far, up), (far, near, down)):
            queue: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
            for work, arguments in (
                (_take, (source, queue, delay_s, bits_per_s)),
                (_give, (target, queue)),
            ):
                threading.Thread(target=work, args=arguments, daemon=True).start()


def _take(
    source: socket.socket,
    queue: "SimpleQueue[tuple[float, bytes]]",
    delay_s: float,
    bits_per_s: float,
) -> None:
    """Read all, and say of each piece when it is to go on."""
    free_at = 0.0
    piece_bytes = _PACED_PIECE_BYTES if bits_per_s else _PIECE_BYTES
    while True:
        try:
            piece = source.recv(piece_bytes)
        except OSError:
            piece = b""
        now = time.perf_counter()
        if bits_per_s:
            free_at = max(now, free_at) + 8 * len(piece) / bits_per_s
            now = free_at
        queue.put((now + delay_s, piece))
        if not piece:
            return


def _give(target: socket.socket, queue: "SimpleQueue[tuple[float, bytes]]") -> None:
    """Send each piece when its time has come; the end of it all as well."""
    while True:
        at, piece = queue.get()
        wait_s = at - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
        with suppress(OSError):
            if not piece:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(piece)


if __name__ == "__main__":
    main(*sys.argv[1:])
