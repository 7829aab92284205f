"""``python -m tests.execution.drive HALF PORT ROUNDS WAIT_S``: a device half in its own process.

Prints a line after each round that is measured, and goes on when it is given one.
"""

import sys
from pathlib import Path

from app.execution import Address, Half, Plan, run_rounds
from app.halves.division import Side
from app.halves.feeds import seeded_feeds


def main(path: str, port: str, rounds: str, wait_s: str) -> None:
    """Run the rounds."""

    def wait(done: int, _total: int) -> None:
        print(done, flush=True)
        sys.stdin.readline()

    run_rounds(
        Half(Path(path), Side.DEVICE),
        Address("127.0.0.1", int(port)),
        seeded_feeds(Path(path), {}, 1),
        Plan(int(rounds), warm_up_rounds=0, wait_s=float(wait_s)),
        on_round=wait,
    )
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
