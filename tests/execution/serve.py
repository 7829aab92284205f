"""``python -m tests.execution.serve HALF PORT [exact]``: a server half in a process of its own.

Prints its port when it listens, and then a line for each thing that happens.
"""

import sys
from pathlib import Path

from app.cli.stopping import stopped_cleanly
from app.execution import Half, RuntimeOptions, serve_half
from app.halves.division import Side


def main(path: str, port: str, *options: str) -> None:
    """Serve until a signal."""
    half = Half(Path(path), Side.SERVER, RuntimeOptions(optimised="exact" not in options))
    try:
        with stopped_cleanly():
            serve_half(
                half,
                port=int(port),
                on_ready=lambda address: print(address.port, flush=True),
                on_event=lambda what: print(what, flush=True),
            )
    except KeyboardInterrupt:
        print("stopped", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
