"""The client that waits."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx

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


class Client:
    """A typed client of a Kerf service; a context manager. Threads may share one.

    ``url``: of the service, such as ``http://127.0.0.1:8000``. ``api_key``: where it asks
    for one. ``timeout_s``: how long to wait until the service takes or gives the next bytes.
    ``transport``: httpx's, for another way there.

    Every method raises ``ProblemError`` where the service refuses, ``UnreachableError`` where
    there is no answer, and ``UnexpectedAnswerError`` where the answer is not one of Kerf's. A
    request may be a model of ``app.api.schemas``, or its fields by name.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._service = Service(url, timeout_s, api_key)
        self._http = httpx.Client(**self._service.settings(), transport=transport)
        self._cuts = HeldCuts()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections up."""
        self._http.close()

    def upload(
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
        """Upload an ONNX file, without the data of its weights unless ``send_weights``.

        They are taken out here, so that they never leave the machine; external data are never
        sent. ``name``: for people, the file's own by default. ``dims``: a value for each symbolic
        dimension. ``model_batch``: how many samples the shapes hold, where the first axis of the
        first input does not say. ``parameters``: graph inputs that are parameters.
        ``idempotency_key``: a name of this request, such as a UUID; sent again, it is not done
        twice.

        Also raises ``IngestError`` where the file is no model, and ``OSError``.
        """
        options = Options(name, dims, model_batch, parameters)
        with Outgoing(Path(path), send_weights) as outgoing:
            return self._carry_out(upload(outgoing, options, on_progress, idempotency_key))

    def models(self) -> Iterator[ModelOut]:
        """All models, newest first; a page is fetched when it is needed."""
        return self._all(calls.models_page)

    def model(self, model_id: str) -> ModelOut:
        """What the service knows of a model."""
        return self._carry_out(calls.model(model_id))

    def delete(self, model_id: str) -> None:
        """Have the service forget a model, and every stored result of it."""
        self._carry_out(calls.delete(model_id))
        self._cuts.forget(model_id)

    def create_profile(self, body: ProfileIn | Fields) -> ProfileOut:
        """Have the service keep what was measured of a machine; the same content again is the same
        profile."""
        return self._carry_out(calls.create_profile(body))

    def profiles(self) -> Iterator[ProfileOut]:
        """All profiles, newest first, without the seconds of their nodes; a page is fetched when
        it is needed."""
        return self._all(calls.profiles_page)

    def profile(self, profile_id: str) -> ProfileOut:
        """A profile, with the seconds of every node."""
        return self._carry_out(calls.profile(profile_id))

    def delete_profile(self, profile_id: str) -> None:
        """Have the service forget a profile."""
        self._carry_out(calls.delete_profile(profile_id))

    def create_key(self, body: KeyIn | Fields) -> NewKeyOut:
        """Have the service make an API key for the tenant of this client's; only this answer has
        the key itself."""
        return self._carry_out(calls.create_key(body))

    def keys(self) -> Iterator[KeyOut]:
        """All keys of the tenant, newest first, revoked ones included; a page is fetched when it
        is needed."""
        return self._all(calls.keys_page)

    def revoke_key(self, key_id: str) -> None:
        """Let a key be valid no longer."""
        self._carry_out(calls.revoke_key(key_id))

    def presets(self) -> PresetsOut:
        """Common devices, servers and links, with their sources."""
        return self._carry_out(calls.presets())

    def split(
        self,
        body: SplitIn | Fields,
        *,
        include_nodes: bool = False,
        include_sensitivity: bool = False,
        idempotency_key: str | None = None,
    ) -> SplitOut:
        """The best cut for one scenario; with the names of the nodes of both sides, and with what
        the cut loses where a figure is off, if asked. Sent again with the same
        ``idempotency_key``, it is not stored twice."""
        call = calls.split(body, include_nodes, include_sensitivity, idempotency_key)
        return self._carry_out(call)

    def split_batch(
        self,
        model_id: str,
        scenarios: Iterable[ScenarioIn | Fields],
        constraints: ConstraintsIn | Fields | None = None,
        store: bool = False,
    ) -> BatchOut:
        """The best cuts for up to 10,000 scenarios of one model, in order."""
        return self._carry_out(calls.split_batch(model_id, scenarios, constraints, store))

    def splits(self, model_id: str | None = None) -> Iterator[SplitOut]:
        """All stored results, of one model if one is named, newest first; a page is fetched when
        it is needed."""
        return self._all(partial(calls.splits_page, model_id))

    def split_result(self, split_id: str, *, include_nodes: bool = False) -> SplitOut:
        """A stored result; with the names of the nodes of both sides, if asked."""
        return self._carry_out(calls.split_result(split_id, include_nodes))

    def cuts(self, model_id: str, mode: TableMode = "training") -> LocalCuts:
        """The cut table of a model, which prices scenarios without asking (``LocalCuts.best``).

        The client keeps it; asked again, it gives the same one as long as the service has it too.
        """
        return self._carry_out(self._cuts.call(model_id, mode))

    def download_half(
        self,
        split_id: str,
        side: Side,
        path: str | PathLike[str],
        on_progress: Progress | None = None,
    ) -> Path | None:
        """Write one side's half of a model to a file; None, and no file, if nothing runs there.

        The file is there whole or not at all: whatever happens, ``path`` is as it was before.
        Also raises ``InterruptedDownloadError``, ``DiskFullError`` and ``OSError``.
        """
        target, call = Path(path), calls.half(split_id, side)
        with telling(self._service.url):
            request = self._service.request(self._http, call)
            response = self._http.send(request, stream=True)
        self._service.expect_the_rest(response)
        with closing(response):
            if response.status_code != httpx.codes.OK:
                with telling(self._service.url):
                    response.read()
                return call.read(response)
            arriving = Arriving.of(response, target, on_progress)
            with PartFile(target) as part:
                with arriving.watched():
                    for piece in response.iter_raw(PIECE_BYTES):
                        part.write(piece)
                        arriving.add(len(piece))
                arriving.end()
                part.complete()
        return target

    def measure_link(
        self, *, seconds: float = 3.0, on_progress: LinkProgress | None = None
    ) -> LinkMeasurement:
        """What one TCP connection to the service's machine carries: useful bytes, HTTP included.

        The round trip is the median of small requests on a warm connection, the service's share of
        some hundred microseconds included; each rate is the median of transfers that take long
        against it. So where the service is not on the server that will run its half, this is
        another link. Takes about ``seconds``, more where 16 KiB alone take longer than these, and
        at most some 100 MB up and 350 MB down.
        """
        measuring = Measuring(seconds, on_progress)
        while measuring.call is not None:
            measuring.done(self._carry_out(measuring.call))
        return measuring.found

    def _carry_out(self, call: Call[T]) -> T:
        with telling(self._service.url):
            response = self._http.send(self._service.request(self._http, call))
        return call.read(response)

    def _all(self, page: Callable[[str | None], Call[Page[T]]]) -> Iterator[T]:
        cursor = None
        while True:
            found = self._carry_out(page(cursor))
            yield from found.items
            cursor = found.next_cursor
            if cursor is None:
                return
