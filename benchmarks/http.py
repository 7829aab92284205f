"""The whole ``POST /split`` beside an empty FastAPI endpoint that validates the same body.

Both live in one server process and are asked in turns over one kept-alive connection each, by a
client that does no more than write bytes and read bytes.
"""

from rich.console import Console


def run(console: Console) -> None:
    raise NotImplementedError
