"""Register, list, show and delete models."""

import logging
import secrets
from asyncio import CancelledError
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from anyio import to_thread
from sqlalchemy.exc import IntegrityError

from app.core.blocks import block_of_node, blocks_of
from app.core.dag import NO_PRODUCER, CostedDag
from app.core.scenario import Mode
from app.core.splitting.cut_table import Family
from app.errors import NotFoundError, NotReadyError, QuotaError
from app.services.access import Access
from app.services.idempotency import RequestKey, fingerprint_of, require_same_request
from app.services.model_ids import model_id_of
from app.services.prepared import PreparedModels
from app.services.spool import SpooledFile
from app.services.workers import ReadModel, ReadOptions, Workers
from app.store import cut_tables as table_store
from app.store import idempotency
from app.store import models as model_store
from app.store.blobs import BlobStore
from app.store.database import Database, ReadConnection, WriteConnection
from app.store.idempotency import KeyUse
from app.store.models import ModelRow
from app.store.pages import Page
from app.worker.facts import tensor_facts

FILES = "models"
"""What the keys of uploaded files begin with."""
_logger = logging.getLogger(__name__)


MOST_TRIES = 3
"""To store a model that other processes store and delete at the same moment."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A registered model, and whether this upload is what made it.

    ``is_repeated``: the upload came with a key that stood for it already, and ``is_new`` is what it
    was the first time.
    """

    model: ModelRow
    is_new: bool
    is_repeated: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Upload:
    """What is to be stored, for whom, and under which key of a request."""

    access: Access
    row: ModelRow
    read: ReadModel
    request_key: RequestKey | None


class ModelService:
    """Models of one database. Methods that are no coroutines block; call these from a thread."""

    def __init__(
        self,
        database: Database,
        prepared: PreparedModels,
        workers: Workers,
        blobs: BlobStore,
        keep_weights: bool,
    ) -> None:
        self._database = database
        self._prepared = prepared
        self._workers = workers
        self._blobs = blobs
        self._keep_weights = keep_weights

    async def register(
        self,
        access: Access,
        file: SpooledFile,
        name: str | None,
        options: ReadOptions,
        key: str | None = None,
    ) -> Registration:
        """Have a worker read a model, and store it; the same content and options again are the
        same model, whatever its name.

        With a key that stands for this upload already nothing is read. Raises ``IngestError``,
        ``DiskFullError``, ``QuotaError``, ``KeyReusedError``, ``BusyError`` or ``NotReadyError``,
        and then nothing is stored.
        """
        request_key = None if key is None else _request_key(key, file.sha256, name, options)
        if request_key is not None:
            known = await to_thread.run_sync(self._made_before, access.tenant_id, request_key)
            if known is not None:
                return known
        read = await self._workers.read(file.file, options)
        row = _row(access.tenant_id, read, file, name, options)
        upload = _Upload(access, row, read, request_key)
        if self._keep_weights and read.has_data:
            return await to_thread.run_sync(self._store_with_file, upload, file)
        return await to_thread.run_sync(self._store, upload)

    async def build_more_tables(self, model_id: str) -> None:
        """Have a worker build the tables for a device faster than the server ahead of the first
        request.

        Ranges of validity read them as well, wherever a cut stays best until the sides are equally
        fast. What is out of reach is left out; whoever asks for it is told.
        """
        # At the end of the service there are no workers any more, and then nobody waits.
        with suppress(NotReadyError, CancelledError):
            dag = await to_thread.run_sync(self._packed_dag, model_id)
            if dag is not None:
                tables = await self._workers.build(dag, [Family.hull(mode) for mode in Mode])
                await to_thread.run_sync(self._store_tables, model_id, tables)

    def _store_with_file(self, upload: _Upload, file: SpooledFile) -> Registration:
        """Keep the file first, so that no model names one that is not there."""
        row = upload.row
        with self._database.reading() as connection:
            known = model_store.get(connection, row.tenant_id, row.id)
        if known is not None and known.file_key is not None:
            return self._store(upload)
        # Named at random: uploads of one model at the same moment have one each.
        key = f"{FILES}/{row.id}/{secrets.token_hex(8)}"
        self._blobs.put(key, file.file)
        registration = None
        try:
            registration = self._store(replace(upload, row=replace(row, file_key=key)))
            return registration
        finally:
            if registration is None or registration.model.file_key != key:
                self._drop_file(key)

    def _store(self, upload: _Upload) -> Registration:
        for _ in range(MOST_TRIES):
            # Another process, of a version that takes no lock, may store it after the look.
            with suppress(IntegrityError), self._database.writing() as connection:
                return _stored(connection, upload)
        raise NotReadyError("the model is being uploaded and deleted elsewhere; try again")

    def _made_before(self, tenant_id: str, request_key: RequestKey) -> Registration | None:
        """What a key stands for, if it stands for a model. Raises ``KeyReusedError``."""
        with self._database.reading() as connection:
            return _repeated(connection, tenant_id, request_key)

    def _drop_file(self, key: str) -> None:
        try:
            self._blobs.delete(key)
        except NotReadyError as error:
            _logger.warning("a file could not be deleted, and is left to the sweep: %s", error)

    def sweep_files(self) -> None:
        """Delete files that no model names: whoever put them there, or was to delete them, has
        been killed. Those of the last day stay, as their model may be about to be stored."""
        oldest = datetime.now(UTC) - timedelta(days=1)
        try:
            self._blobs.clear_leftovers()
            candidates = [
                blob.key for blob in self._blobs.list(f"{FILES}/") if blob.modified_at < oldest
            ]
            with self._database.reading() as connection:
                named = model_store.file_keys(connection)
        except NotReadyError as error:
            _logger.warning("files that no model names could not be looked for: %s", error)
            return
        for key in candidates:
            if key not in named:
                self._drop_file(key)

    def _packed_dag(self, model_id: str) -> bytes | None:
        with self._database.reading() as connection:
            return model_store.get_packed_dag(connection, model_id)

    def _store_tables(self, model_id: str, tables: Mapping[Family, bytes]) -> None:
        # A model that was deleted meanwhile takes no tables.
        with suppress(IntegrityError), self._database.writing() as connection:
            for family, table in tables.items():
                table_store.put(connection, model_id, family, table)
        self._prepared.add_tables(model_id, tables)

    def get(self, tenant_id: str, model_id: str) -> ModelRow:
        """The tenant's model of this id. Raises ``NotFoundError``."""
        with self._database.reading() as connection:
            row = model_store.get(connection, tenant_id, model_id)
        if row is None:
            raise NotFoundError(f"there is no model {model_id!r}")
        return row

    def page(self, tenant_id: str, limit: int, cursor: str | None) -> Page:
        """A page of a tenant's models, newest first. Raises ``BadCursorError``."""
        with self._database.reading() as connection:
            return model_store.page(connection, tenant_id, limit, cursor)

    def remove(self, tenant_id: str, model_id: str) -> None:
        """Delete a model with its results: it is gone at once in this process, and in others once
        they look (``app.services.upkeep``). Raises ``NotFoundError``."""
        with self._database.writing() as connection:
            row = model_store.get(connection, tenant_id, model_id)
            removed = model_store.remove(connection, tenant_id, model_id)
        self._prepared.discard(model_id)
        if not removed:
            raise NotFoundError(f"there is no model {model_id!r}")
        if row is not None and row.file_key is not None:
            self._drop_file(row.file_key)


def _stored(connection: WriteConnection, upload: _Upload) -> Registration:
    """Store a model that is not there, and what one that is there lacks."""
    row, read, request_key = upload.row, upload.read, upload.request_key
    # Uploads of a tenant go one by one here, so that they find each other, and none exceeds what
    # they may have together.
    model_store.lock_tenant(connection, row.tenant_id)
    if request_key is not None:
        repeated = _repeated(connection, row.tenant_id, request_key)
        if repeated is not None:
            return repeated
    known = model_store.get(connection, row.tenant_id, row.id)
    if known is None:
        _check_quota(connection, upload.access, row)
        model_store.add(connection, row, read.dag, read.graph)
        for family, table in read.tables.items():
            table_store.put(connection, row.id, family, table)
    else:
        model_store.complete(connection, known, row, read.graph)
        known = model_store.get(connection, row.tenant_id, row.id)
    if request_key is not None:
        # By its moment it is told later whether the model was new.
        use = KeyUse(
            row.tenant_id, request_key.key, request_key.fingerprint, row.created_at, row.id
        )
        idempotency.claim(connection, [use])
    return Registration(known or row, is_new=known is None)


def _repeated(
    connection: ReadConnection | WriteConnection, tenant_id: str, request_key: RequestKey
) -> Registration | None:
    """The model that a key stands for, if it stands for one. Raises ``KeyReusedError``."""
    holder = idempotency.get(connection, tenant_id, request_key.key)
    if holder is None:
        return None
    require_same_request(holder, request_key)
    assert holder.model_id is not None
    model = model_store.get(connection, tenant_id, holder.model_id)
    if model is None:
        return None
    return Registration(model, model.created_at == holder.created_at, is_repeated=True)


def _check_quota(connection: WriteConnection, access: Access, row: ModelRow) -> None:
    """Raise ``QuotaError`` where a tenant would have more than the key allows."""
    if access.most_models is None and access.most_bytes is None:
        return
    held = model_store.holdings(connection, access.tenant_id)
    if access.most_models is not None and held.models >= access.most_models:
        raise QuotaError(
            f"tenant {access.tenant_id} has {held.models} models, and with this key may have "
            f"{access.most_models}; delete one, or ask for a key that allows more"
        )
    if access.most_bytes is not None and held.file_bytes + row.file_bytes > access.most_bytes:
        raise QuotaError(
            f"tenant {access.tenant_id} has models of {held.file_bytes} bytes as uploaded, and "
            f"with this one of {row.file_bytes} bytes would exceed the {access.most_bytes} bytes "
            "of this key; delete one, upload without weights, or ask for a key that allows more"
        )


def _request_key(key: str, sha256: str, name: str | None, options: ReadOptions) -> RequestKey:
    asked = [sha256, name, dict(options.dims), options.model_batch, list(options.parameters)]
    return RequestKey(key, fingerprint_of("POST /models", asked))


def _row(
    tenant_id: str, read: ReadModel, file: SpooledFile, name: str | None, options: ReadOptions
) -> ModelRow:
    summary, sha256 = read.summary, file.sha256
    batch, parameters = summary["model_batch"], options.parameters
    return ModelRow(
        # Uploads of the same model at the same moment agree on it.
        id=model_id_of(sha256, summary["bound_dims"], batch, parameters, tenant_id),
        tenant_id=tenant_id,
        file_bytes=file.nbytes,
        name=name or f"model-{sha256[:12]}",
        sha256=sha256,
        created_at=datetime.now(UTC),
        summary={**summary, "weights_are_left_out": read.has_data},
    )


def summary_of(row: ModelRow) -> dict[str, Any]:
    """A model as ``GET /models/{id}`` shows it."""
    facts = dict(row.summary)
    # Those of a model of an older version of Kerf.
    facts.setdefault("parameters", [])
    facts.setdefault("graph_sha256", None)
    left_out = facts.pop("weights_are_left_out", True)
    elsewhere = "not-kept" if left_out else "external"
    return {
        "id": row.id,
        "name": row.name,
        "sha256": row.sha256,
        "created_at": row.created_at.isoformat(),
        **facts,
        "weights": elsewhere if row.file_key is None else "kept",
    }


def graph_of(dag: CostedDag) -> dict[str, Any]:
    """The costed DAG as JSON; ids are integers in topological order."""
    blocks = block_of_node(dag, blocks_of(dag))
    producers = dag.tensor_producers.tolist()
    return {
        "nodes": [
            {"id": i, "name": name, "op_type": op_type, "flops": flops, "block": block}
            for i, (name, op_type, flops, block) in enumerate(
                zip(dag.node_names, dag.node_op_types, dag.node_flops.tolist(), blocks, strict=True)
            )
        ],
        "tensors": [
            {
                "id": i,
                **tensor_facts(dag, i),
                "producer": None if producers[i] == NO_PRODUCER else producers[i],
                "consumers": consumers,
                "is_output": bool(dag.tensor_is_output[i]),
                "uncuttable": not dag.tensor_is_cuttable[i],
            }
            for i, consumers in enumerate(dag.tensor_consumers.to_lists())
        ],
        "parameters": [
            {"name": name, "bytes": nbytes, "users": users}
            for name, nbytes, users in zip(
                dag.parameter_names,
                dag.parameter_bytes.tolist(),
                dag.parameter_users.to_lists(),
                strict=True,
            )
        ],
    }
