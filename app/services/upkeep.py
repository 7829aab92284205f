"""What goes on behind the requests: caches are held against the database, and what is kept no
longer is deleted, a little at a time.

Every process does so by itself; none has to know of the others.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.errors import NotReadyError
from app.store import idempotency, retention
from app.store.database import Database

LOOK_S = 1.0
"""How often a process looks for what others have deleted or revoked, so how long that can go on to
be served there, but for the time that looking takes."""
SWEEP_S = 60.0
ROWS_AT_ONCE = 500
"""Deleted in one transaction; then whoever else wants to write has a turn."""
PAUSE_S = 0.02
KEY_AGE = timedelta(days=1)
"""So long an Idempotency-Key stands for its request."""
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long results are kept: so old, and so many of each tenant, at most. None: no limit."""

    age: timedelta | None = None
    count: int | None = None


class Upkeep:
    """Threads of their own for each task. Nothing starts before ``start``."""

    def __init__(
        self,
        database: Database,
        looks: Sequence[Callable[[], None]],
        keep: Retention,
        sweep_s: float = SWEEP_S,
    ) -> None:
        """``looks``: each forgets what is there no longer, and may raise ``NotReadyError``."""
        self._database = database
        self._looks = looks
        self._keep = keep
        self._sweep_s = sweep_s
        self._ended = threading.Event()

    def start(self) -> None:
        """Start."""
        for task, seconds in ((self.look, LOOK_S), (self.sweep, self._sweep_s)):
            threading.Thread(
                target=self._every, args=(task, seconds), name="upkeep", daemon=True
            ).start()

    def stop(self) -> None:
        """Begin nothing more. What is under way is a short transaction, and may be broken off."""
        self._ended.set()

    def look(self) -> None:
        """Forget what is there no longer."""
        for look in self._looks:
            look()

    def sweep(self, now: datetime | None = None) -> None:
        """Delete results and idempotency keys that are kept no longer."""
        now = now or datetime.now(UTC)
        with self._database.reading() as connection:
            tenants = retention.tenants(connection)
        for tenant_id in tenants:
            for last in self._last_unkept(tenant_id, now):
                self._remove_up_to(tenant_id, last)
        self._remove_keys(now - KEY_AGE)

    def _last_unkept(self, tenant_id: str, now: datetime) -> list[tuple[datetime, str]]:
        """Up to where a tenant's results go: by age, and by count."""
        found = []
        if self._keep.age is not None:
            found.append((now - self._keep.age, ""))
        if self._keep.count is not None:
            with self._database.reading() as connection:
                beyond = retention.first_beyond(connection, tenant_id, self._keep.count)
            if beyond is not None:
                found.append(beyond)
        return found

    def _remove_up_to(self, tenant_id: str, last: tuple[datetime, str]) -> None:
        def remove() -> int:
            with self._database.writing() as connection:
                return retention.remove_up_to(connection, tenant_id, last, ROWS_AT_ONCE)

        self._in_batches(remove)

    def _remove_keys(self, moment: datetime) -> None:
        def remove() -> int:
            with self._database.writing() as connection:
                return idempotency.remove_before(connection, moment, ROWS_AT_ONCE)

        self._in_batches(remove)

    def _in_batches(self, remove: Callable[[], int]) -> None:
        while remove() == ROWS_AT_ONCE and not self._ended.wait(PAUSE_S):
            pass

    def _every(self, task: Callable[[], None], seconds: float) -> None:
        is_away = False
        while not self._ended.wait(seconds):
            began_s = time.monotonic()
            try:
                task()
                is_away = False
            except NotReadyError as error:
                if not is_away:
                    _logger.warning("upkeep waits for the database: %s", error)
                is_away = True
            except Exception:
                # It has to go on: a deleted model would be served here for ever.
                _logger.exception("upkeep failed after %.1f s", time.monotonic() - began_s)
