"""The cut tables that a client has, each fetched again only when it has changed."""

from typing import get_args

import httpx

from app.api.schemas import CutTableOut
from app.client import calls
from app.client.answers import parsed
from app.client.calls import Call, TableMode
from app.client.local_cuts import LocalCuts


class HeldCuts:
    """The newest copy of each table. Threads may share it: its steps are single ones."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, TableMode], LocalCuts] = {}

    def call(self, model_id: str, mode: TableMode) -> Call[LocalCuts]:
        """The table of a model: the copy that is here, if it is still the service's."""
        key = (model_id, mode)
        held = self._held.get(key)

        def read(response: httpx.Response) -> LocalCuts:
            if response.status_code == httpx.codes.NOT_MODIFIED and held is not None:
                return held
            if response.status_code == httpx.codes.NOT_FOUND:
                self._held.pop(key, None)
            found = LocalCuts(parsed(response, CutTableOut), response.headers.get("etag"))
            self._held[key] = found
            return found

        return calls.cuts(model_id, mode, held.tag if held else None, read)

    def forget(self, model_id: str) -> None:
        """Give the copies up of a model that is gone."""
        for mode in get_args(TableMode):
            self._held.pop((model_id, mode), None)
