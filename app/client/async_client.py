"""The client that awaits."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx
from anyio import to_thread

from app.api.key_schemas import KeyIn, KeyOut, NewKeyOut
from app.api.preset_schemas import PresetsOut
from app.api.profile_schemas import ProfileIn, ProfileOut
from app.api.schemas import BatchOut, ConstraintsIn, ModelOut, ScenarioIn, SplitIn, SplitOut
from app.client import calls
from app.client.calls import Call, Fields, Page, Side, TableMode
from app.client.downloads import PIECE_BYTES, Arriving, PartFile
from app.client.errors import telling
from app.client.held_cuts import HeldCuts
from app.client.link_measurement import LinkMeasurement, LinkProgress, Measuring
from app.client.local_cuts import LocalCuts
from app.client.service import Service
from app.client.streams import Progress
from app.client.uploads import Options, Outgoing, Uploaded, upload

T = TypeVar("T")


class AsyncClient:
    """``Client`` for asyncio: the same methods, with the same errors, to be awaited.

    What reads or writes a disk does so in threads. Progress is told from the event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._service = Service(url, timeout_s, api_key)
        self._http = httpx.AsyncClient(**self._service.settings(), transport=transport)
        self._cuts = HeldCuts()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections up."""
        await self._http.aclose()

    async def upload(
        self,
        path: str | PathLike[str],
        *,
        name: str | None = None,
        dims: Mapping[str, int] | None = None,
        model_batch: int | None = None,
        parameters: Sequence[str] = (),
        send_weights: bool = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Uploaded:
        """See ``Client.upload``."""
        options = Options(name, dims, model_batch, parameters)
        with await to_thread.run_sync(Outgoing, Path(path), send_weights) as outgoing:
            return await self._carry_out(upload(outgoing, options, on_progress, idempotency_key))

    def models(self) -> AsyncIterator[ModelOut]:
        """See ``Client.models``."""
        return self._all(calls.models_page)

    async def model(self, model_id: str) -> ModelOut:
        """See ``Client.model``."""
        return await self._carry_out(calls.model(model_id))

    async def delete(self, model_id: str) -> None:
        """See ``Client.delete``."""
        await self._carry_out(calls.delete(model_id))
        self._cuts.forget(model_id)

    async def create_profile(self, body: ProfileIn | Fields) -> ProfileOut:
        """See ``Client.create_profile``."""
        return await self._carry_out(calls.create_profile(body))

    def profiles(self) -> AsyncIterator[ProfileOut]:
        """See ``Client.profiles``."""
        return self._all(calls.profiles_page)

    async def profile(self, profile_id: str) -> ProfileOut:
        """See ``Client.profile``."""
        return await self._carry_out(calls.profile(profile_id))

    async def delete_profile(self, profile_id: str) -> None:
        """See ``Client.delete_profile``."""
        await self._carry_out(calls.delete_profile(profile_id))

    async def create_key(self, body: KeyIn | Fields) -> NewKeyOut:
        """See ``Client.create_key``."""
        return await self._carry_out(calls.create_key(body))

    def keys(self) -> AsyncIterator[KeyOut]:
        """See ``Client.keys``."""
        return self._all(calls.keys_page)

    async def revoke_key(self, key_id: str) -> None:
        """See ``Client.revoke_key``."""
        await self._carry_out(calls.revoke_key(key_id))

    async def presets(self) -> PresetsOut:
        """See ``Client.presets``."""
        return await self._carry_out(calls.presets())

    async def split(
        self,
        body: SplitIn | Fields,
        *,
        include_nodes: bool = False,
        include_sensitivity: bool = False,
        idempotency_key: str | None = None,
    ) -> SplitOut:
        """See ``Client.split``."""
        call = calls.split(body, include_nodes, include_sensitivity, idempotency_key)
        return await self._carry_out(call)

    async def split_batch(
        self,
        model_id: str,
        scenarios: Iterable[ScenarioIn | Fields],
        constraints: ConstraintsIn | Fields | None = None,
        store: bool = False,
    ) -> BatchOut:
        """See ``Client.split_batch``."""
        return await self._carry_out(calls.split_batch(model_id, scenarios, constraints, store))

    def splits(self, model_id: str | None = None) -> AsyncIterator[SplitOut]:
        """See ``Client.splits``."""
        return self._all(partial(calls.splits_page, model_id))

    async def split_result(self, split_id: str, *, include_nodes: bool = False) -> SplitOut:
        """See ``Client.split_result``."""
        return await self._carry_out(calls.split_result(split_id, include_nodes))

    async def cuts(self, model_id: str, mode: TableMode = "training") -> LocalCuts:
        """See ``Client.cuts``."""
        return await self._carry_out(self._cuts.call(model_id, mode))

    async def download_half(
        self,
        split_id: str,
        side: Side,
        path: str | PathLike[str],
        on_progress: Progress | None = None,
    ) -> Path | None:
        """See ``Client.download_half``."""
        target, call = Path(path), calls.half(split_id, side)
        with telling(self._service.url):
            request = self._service.request(self._http, call)
            response = await self._http.send(request, stream=True)
        self._service.expect_the_rest(response)
        async with aclosing(response):
            if response.status_code != httpx.codes.OK:
                with telling(self._service.url):
                    await response.aread()
                return call.read(response)
            arriving = Arriving.of(response, target, on_progress)
            with PartFile(target) as part:
                with arriving.watched():
                    async for piece in response.aiter_raw(PIECE_BYTES):
                        await to_thread.run_sync(part.write, piece)
                        arriving.add(len(piece))
                arriving.end()
                await to_thread.run_sync(part.complete)
        return target

    async def measure_link(
        self, *, seconds: float = 3.0, on_progress: LinkProgress | None = None
    ) -> LinkMeasurement:
        """See ``Client.measure_link``."""
        measuring = Measuring(seconds, on_progress)
        while measuring.call is not None:
            measuring.done(await self._carry_out(measuring.call))
        return measuring.found

    async def _carry_out(self, call: Call[T]) -> T:
        with telling(self._service.url):
            response = await self._http.send(self._service.request(self._http, call))
        return call.read(response)

    async def _all(self, page: Callable[[str | None], Call[Page[T]]]) -> AsyncIterator[T]:
        cursor = None
        while True:
            found = await self._carry_out(page(cursor))
            for item in found.items:
                yield item
            cursor = found.next_cursor
            if cursor is None:
                return
