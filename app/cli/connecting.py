"""The client of a command: to the service at its URL, with the key that the environment has."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.client import Client

API_KEY = "KERF_API_KEY"
"""Not an option: what is typed stands in the history of the shell, and in the list of processes."""


def connect(url: str) -> "Client":
    """A client. Raises ``UnreachableError`` where the URL can lead to no service, and
    ``UnusableKeyError``."""
    from app.client import Client

    return Client(url, api_key=api_key())


def api_key() -> str | None:
    """The key of the environment, if it has one."""
    return os.environ.get(API_KEY) or None
