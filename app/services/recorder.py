"""Results of ``/split``, committed in groups: whatever waits while one transaction is under way
goes into the next, so that what a commit costs is shared by all who wait for it."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import IntegrityError

from app.errors import BusyError, KerfError, KeyReusedError, NotFoundError, NotReadyError
from app.services.idempotency import RequestKey, require_same_request
from app.store import idempotency
from app.store import models as model_store
from app.store import splits as split_store
from app.store.database import Database, WriteConnection
from app.store.idempotency import KeyUse
from app.store.splits import SplitRow

MOST_ROWS_AT_ONCE = 1000
"""In one transaction; a batch, which is committed whole, may have more."""
COMPANY_S = 0.005
"""So long a group waits at most to become as large as groups lately were."""
FORGOTTEN_PER_GROUP = 0.1
"""A group of ten is forgotten after ninety of one."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """Rows of one model that are committed together, or not at all; with a key at most one."""

    rows: Sequence[SplitRow]
    use: KeyUse | None
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[str | None]" = field(repr=False)


_Outcome = str | None | Exception
"""The id of the split that a key stood for already, if it did; or what to raise."""


class Recorder:
    """A queue of rows, and the one thread that commits them. Nothing starts before ``start``.

    ``most_rows``: that wait at most, but for one batch, which may be larger.
    """

    def __init__(self, database: Database, most_rows: int) -> None:
        self._database = database
        self._most_rows = most_rows
        self._entries: deque[_Entry] = deque()
        self._waiting_rows = 0
        self._usual_entries = 1.0
        self._changed = threading.Condition()
        self._is_open = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more, and return when all that waits has been committed, or refused."""
        with self._changed:
            self._is_open = False
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    @property
    def waiting_rows(self) -> int:
        """How many rows wait, or are being committed."""
        return self._waiting_rows

    async def record(self, rows: Sequence[SplitRow], use: KeyUse | None = None) -> str | None:
        """Return when rows of one model are committed: None, or, where the key of ``use`` stood for
        the same request already, the id of its split, and then nothing is stored.

        Raises ``BusyError``, ``NotReadyError``, ``KeyReusedError``, or ``NotFoundError`` where the
        model has been deleted.
        """
        loop = asyncio.get_running_loop()
        entry = _Entry(rows, use, loop, loop.create_future())
        with self._changed:
            if not self._is_open:
                raise NotReadyError("the service is stopping")
            if self._entries and self._waiting_rows + len(rows) > self._most_rows:
                raise BusyError(
                    f"{self._waiting_rows} results wait to be stored, and this service lets "
                    f"{self._most_rows} wait (KERF_QUEUE_ROWS); try again, or ask with store: false"
                )
            self._entries.append(entry)
            self._waiting_rows += len(rows)
        # Not now: requests that the event loop is about to serve shall be in the same group. Where
        # there are none, this comes next.
        loop.call_soon(self._wake)
        return await entry.done

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        while group := self._next_group():
            outcomes = self._commit(group)
            with self._changed:
                self._waiting_rows -= sum(len(entry.rows) for entry in group)
            _tell(group, outcomes)

    def _next_group(self) -> list[_Entry]:
        """What waits, as far as it goes into one transaction; nothing at the end of the service."""
        with self._changed:
            while self._is_open and not self._entries:
                self._changed.wait()
            self._wait_for_company()
            group: list[_Entry] = []
            rows = 0
            while self._entries and (
                not group or rows + len(self._entries[0].rows) <= MOST_ROWS_AT_ONCE
            ):
                group.append(self._entries.popleft())
                rows += len(group[-1].rows)
            self._usual_entries = max(len(group), self._usual_entries - FORGOTTEN_PER_GROUP)
            return group

    def _wait_for_company(self) -> None:
        """Give a group the time to become as large as groups lately were: clients that wait for
        their answers come back together. Whoever comes alone waits for nobody."""
        until = time.monotonic() + COMPANY_S
        while self._is_open and len(self._entries) < int(self._usual_entries):
            left_s = until - time.monotonic()
            if left_s <= 0 or not self._changed.wait(left_s):
                return

    def _commit(self, group: Sequence[_Entry]) -> list[_Outcome]:
        try:
            with self._database.writing() as connection:
                return _store(connection, group)
        except KerfError as error:
            # The database is away, for one as for all.
            return [error] * len(group)
        except IntegrityError as error:
            if len(group) == 1:
                return [self._why_refused(group[0], error)]
            return [outcome for entry in group for outcome in self._commit([entry])]
        except Exception as error:
            if len(group) == 1:
                _logger.exception("a result could not be stored")
                return [error]
            # One of them is at fault, and the others shall not suffer for it.
            return [outcome for entry in group for outcome in self._commit([entry])]

    def _why_refused(self, entry: _Entry, error: IntegrityError) -> Exception:
        model_id = entry.rows[0].model_id
        try:
            with self._database.reading() as connection:
                is_there = bool(model_store.still_there(connection, [model_id]))
        except NotReadyError as away:
            return away
        return error if is_there else _no_model(model_id)


def _no_model(model_id: str) -> NotFoundError:
    return NotFoundError(f"there is no model {model_id!r}", loc=("model_id",))


def _store(connection: WriteConnection, group: Sequence[_Entry]) -> list[_Outcome]:
    """Store what can be; what became of each entry."""
    outcomes: list[_Outcome] = [None] * len(group)
    if all(entry.use is None for entry in group):
        # Where a model is gone, the database refuses this, and each entry is tried by itself.
        split_store.add_all(connection, [row for entry in group for row in entry.rows])
        return outcomes
    there = model_store.hold(connection, {entry.rows[0].model_id for entry in group})
    for place, entry in enumerate(group):
        if entry.rows[0].model_id not in there:
            outcomes[place] = _no_model(entry.rows[0].model_id)
    keyed = [
        (place, entry.use)
        for place, entry in enumerate(group)
        if entry.use is not None and outcomes[place] is None
    ]
    if keyed:
        holders = idempotency.claim(connection, [use for _, use in keyed])
        for (place, use), holder in zip(keyed, holders, strict=True):
            outcomes[place] = _standing_for(use, holder)
    rows = [
        row
        for entry, outcome in zip(group, outcomes, strict=True)
        if outcome is None
        for row in entry.rows
    ]
    if rows:
        split_store.add_all(connection, rows)
    return outcomes


def _standing_for(use: KeyUse, holder: KeyUse) -> str | KeyReusedError | None:
    """What follows from what a key stands for: None where that is this very use, else the id of the
    split that was made, or the refusal of another request."""
    try:
        require_same_request(holder, RequestKey(use.key, use.fingerprint))
    except KeyReusedError as error:
        return error
    return None if holder.split_id == use.split_id else holder.split_id


def _tell(group: Sequence[_Entry], outcomes: Sequence[_Outcome]) -> None:
    """Tell those who wait; all of one event loop with one call, since that wakes it."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Entry, _Outcome]]] = {}
    for pair in zip(group, outcomes, strict=True):
        by_loop.setdefault(pair[0].loop, []).append(pair)
    for loop, pairs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, pairs)
        except RuntimeError:
            # The loop has ended, and with it whoever waited.
            _logger.warning("%d results were stored after their clients had gone", len(pairs))


def _settle(pairs: Sequence[tuple[_Entry, _Outcome]]) -> None:
    for entry, outcome in pairs:
        if entry.done.done():
            continue
        if isinstance(outcome, Exception):
            entry.done.set_exception(outcome)
        else:
            entry.done.set_result(outcome)
