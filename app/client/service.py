"""Which service a client talks to, and how a call becomes a request of httpx."""

from typing import Any

import httpx

from app import __version__
from app.client.calls import Call
from app.client.errors import UnreachableError, UnusableKeyError

MORE_PATIENCE_S = 120.0
"""How much longer an answer may take for which the service has to read a model."""


class Service:
    """The address of a service, the key to it, and how long to wait for it.

    ``url``: as people may read it. ``timeout_s``: for the next bytes, one way or the other.
    """

    def __init__(self, url: str, timeout_s: float, api_key: str | None = None) -> None:
        """Raises ``UnreachableError`` where the URL can lead to no service, and
        ``UnusableKeyError`` for a key that no header can carry."""
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise UnusableKeyError("the API key has characters that no key of Kerf's has")
        try:
            base_url = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise UnreachableError(f"{url!r} is no URL: {error}", url) from error
        if base_url.scheme not in ("http", "https") or not base_url.host:
            raise UnreachableError(
                f"{url!r} is not the URL of a service, such as http://127.0.0.1:8000", url
            )
        self.url = str(base_url.copy_with(userinfo=b""))
        self._timeout_s = timeout_s
        self._api_key = api_key
        self._base_url = base_url

    def settings(self) -> dict[str, Any]:
        """Those of a client of httpx."""
        headers = {"User-Agent": f"kerf/{__version__}"}
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key}"
        return {"base_url": self._base_url, "timeout": self._timeout_s, "headers": headers}

    def request(self, http: httpx.Client | httpx.AsyncClient, call: Call[Any]) -> httpx.Request:
        """A call as a request."""
        more_s = MORE_PATIENCE_S if call.reads_a_model else 0.0
        timeout = httpx.Timeout(self._timeout_s, read=self._timeout_s + more_s)
        headers = dict(call.headers)
        if call.stream is not None:
            headers["Content-Length"] = str(call.stream.nbytes)
        request = http.build_request(
            call.method,
            call.path,
            params=dict(call.params),
            headers=headers,
            content=call.content,
            timeout=timeout,
        )
        if call.stream is not None:
            request.stream = call.stream
        return request

    def expect_the_rest(self, response: httpx.Response) -> None:
        """Await the body of an answer that has begun no longer than anything else."""
        response.request.extensions["timeout"]["read"] = self._timeout_s
