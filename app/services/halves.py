"""The halves of stored splits, streamed."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from anyio import to_thread

from app.errors import HalvesUnavailableError, NotFoundError, WrongFileError
from app.services.answers import node_names
from app.services.prepared import PreparedModels
from app.services.spool import Spool
from app.services.workers import CutHalf, CutOptions, ReadOptions, Workers
from app.store import models as model_store
from app.store import splits as split_store
from app.store.blobs import BlobStore, Pieces
from app.store.database import Database
from app.store.models import ModelRow
from app.store.packing import unpack_mask
from app.store.splits import SplitRow

Side = Literal["device", "server"]

LARGEST_HALF_BYTES = 2**31 - 1
"""Protobuf reads no larger message."""

PIECE_BYTES = 2**20
WIDEST_GAP_BYTES = 2**18
"""What lies between two weights is read and thrown away, rather than asked for anew."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamedHalf:
    """The file of a half: how long it is, and its content in pieces, to be read in a thread.

    ``content`` is to be closed, however far it was read: it holds files.
    """

    nbytes: int
    content: Generator[bytes, None, None] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """What the store has of a split and its model."""

    split: SplitRow
    model: ModelRow
    graph: bytes | None


class HalfService:
    """Halves of the splits of one database; ``blobs`` has the files that are kept, ``spool`` holds
    halves on the disk while they are sent."""

    def __init__(
        self,
        database: Database,
        prepared: PreparedModels,
        workers: Workers,
        blobs: BlobStore,
        spool: Spool,
    ) -> None:
        self._database = database
        self._prepared = prepared
        self._workers = workers
        self._blobs = blobs
        self._spool = spool

    async def half(self, tenant_id: str, split_id: str, side: Side) -> StreamedHalf | None:
        """One half of the model that a tenant's split divides; None where nothing runs on that
        side.

        Raises ``NotFoundError``, ``HalvesUnavailableError`` where its weights are not here, or
        ``NotReadyError``.
        """
        stored = await to_thread.run_sync(self._stored, tenant_id, split_id)
        names = await to_thread.run_sync(self._names, stored)
        # A model without nodes is the device's.
        if not names[side] and (names["device"] or names["server"] or side == "server"):
            return None
        if stored.graph is None:
            raise HalvesUnavailableError(
                "the model was uploaded to an older version of Kerf, which did not keep its "
                "graph; upload its file again, and ask again"
            )
        cut = CutOptions(side, names["device"], names["server"], stored.model.id, split_id)
        try:
            half = await self._workers.cut(stored.graph, _options(stored.model), cut)
        except WrongFileError as error:
            raise HalvesUnavailableError(
                "the model was read by another version of Kerf, which saw other nodes in it; "
                "delete it, upload its file again, and split it anew"
            ) from error
        content = await to_thread.run_sync(self._content, stored, half)
        return StreamedHalf(half.nbytes, content)

    def _stored(self, tenant_id: str, split_id: str) -> _Stored:
        with self._database.reading() as connection:
            split = split_store.get(connection, tenant_id, split_id)
            model = model_store.get(connection, tenant_id, split.model_id) if split else None
            if split is None or model is None:
                raise NotFoundError(f"there is no split {split_id!r}")
            return _Stored(split, model, model_store.get_graph(connection, model.id))

    def _names(self, stored: _Stored) -> dict[str, list[str]]:
        dag = self._prepared.load(stored.model.tenant_id, stored.model.id).dag
        return node_names(dag, unpack_mask(stored.split.on_device, dag.node_count))

    def _content(self, stored: _Stored, half: CutHalf) -> Generator[bytes, None, None]:
        """The content, once it is certain that all of it is at hand."""
        if half.lost is not None:
            raise _not_here(
                stored, f"the upload neither held nor named the data of tensor {half.lost!r}"
            )
        if half.nbytes > LARGEST_HALF_BYTES:
            raise _not_here(stored, "the half would be larger than 2 GiB, which ONNX cannot read")
        end = max((piece[1] for piece in half.pieces if isinstance(piece, tuple)), default=0)
        kept = None
        if end > 0:
            key = stored.model.file_key
            if key is None:
                raise _not_here(stored, "this service does not keep the weights of this model")
            size_bytes = self._blobs.size_bytes(key)
            if size_bytes is None or size_bytes < end:
                raise _not_here(stored, "the file of this model is no longer in the blob store")
            kept = _KeptFile(self._blobs, key)
        graph = self._spool.hold(piece for piece in half.pieces if isinstance(piece, bytes))
        places = [len(piece) if isinstance(piece, bytes) else piece for piece in half.pieces]
        return _pieces(places, graph, kept)


def _not_here(stored: _Stored, why: str) -> HalvesUnavailableError:
    return HalvesUnavailableError(
        f"{why}. Cut your own file: kerf cut model.onnx --split {stored.split.id} -o halves. Or "
        "have the service keep weights (KERF_KEEP_WEIGHTS=true), and upload the file again with "
        "them"
    )


def _options(model: ModelRow) -> ReadOptions:
    summary = model.summary
    return ReadOptions(summary["bound_dims"], summary["model_batch"], tuple(summary["parameters"]))


def _pieces(
    places: Sequence[int | tuple[int, int]], graph: BinaryIO, kept: "_KeptFile | None"
) -> Generator[bytes, None, None]:
    """The pieces of a half: counts of the next bytes of ``graph``, and ranges of the kept file.

    Of a large graph nothing is in memory while a slow client reads.
    """
    try:
        for place in places:
            if isinstance(place, int):
                for start in range(0, place, PIECE_BYTES):
                    yield graph.read(min(PIECE_BYTES, place - start))
            elif kept is not None:
                yield from kept.range(*place)
    finally:
        graph.close()
        if kept is not None:
            kept.close()


class _KeptFile:
    """A blob that is read mostly from its start to its end, with gaps: in as few requests."""

    def __init__(self, blobs: BlobStore, key: str) -> None:
        self._blobs = blobs
        self._key = key
        self._pieces: Pieces | None = None
        self._ahead = b""
        self._at = 0

    def range(self, start: int, end: int) -> Iterator[bytes]:
        """Bytes ``start`` up to ``end``. Raises ``NotReadyError`` or ``BlobNotFoundError``."""
        if self._pieces is None or not 0 <= start - self._at <= WIDEST_GAP_BYTES:
            self.close()
            self._pieces, self._at, self._ahead = self._blobs.read(self._key, start), start, b""
        while self._at < end:
            if not self._ahead:
                self._ahead = next(self._pieces)
            wanted = (start if self._at < start else end) - self._at
            piece, self._ahead = self._ahead[:wanted], self._ahead[wanted:]
            if self._at >= start:
                yield piece
            self._at += len(piece)

    def close(self) -> None:
        """Give up the request that is under way."""
        if self._pieces is not None:
            self._pieces.close()
            self._pieces = None
