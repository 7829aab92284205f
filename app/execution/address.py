"""Where a server listens."""

import re
from dataclasses import dataclass

DEFAULT_PORT = 8473


@dataclass(frozen=True, slots=True)
class Address:
    """A host, by name or number, and a TCP port."""

    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> "Address":
        """``HOST``, ``HOST:PORT`` or ``[IPV6]:PORT``. Raises ``ValueError``."""
        match = _ADDRESS.fullmatch(text.strip())
        port = int(match["port"] or DEFAULT_PORT) if match else 0
        if match is None or not 0 < port < 2**16:
            raise ValueError(f"{text!r} is not HOST:PORT, such as 192.168.1.20:{DEFAULT_PORT}")
        return cls(match["v6"] or match["host"], port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_ADDRESS = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.]+)?)\]|(?P<host>[^\s:\[\]/]+))(?::(?P<port>[0-9]{1,5}))?"
)
