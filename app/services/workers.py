"""Worker processes, as the service sees them: a model to be read or cut, or tables to be built."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, Literal, NoReturn

from anyio import CapacityLimiter, to_thread

from app import errors, metrics
from app.core.splitting.cut_table import Family
from app.errors import (
    BusyError,
    IngestError,
    KerfError,
    LimitExceededError,
    NotReadyError,
    ReaderFailedError,
    WrongFileError,
)
from app.worker import frames
from app.worker.frames import BrokenFrameError, Frame

TABLE_SHARE = 0.25
"""Of the time that reading a model may take, what its first table may; without it, the model is
accepted all the same."""
START_S = 60.0
"""A worker starts within milliseconds, once its zygote has imported what it needs."""
STATUS_S = 5.0
"""How long a worker that has hung up may take to end."""
_logger = logging.getLogger(__name__)
_BOOT = (
    "import json, socket, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from app.worker.zygote import main; main(socket.socket(fileno=int(sys.argv[2])))"
)


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one worker may take: bytes of memory, seconds, and ``Limits`` of ingest by name."""

    memory_bytes: int
    seconds: float
    model: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What an upload states beside the file; see ``IngestOptions`` of ingest."""

    dims: Mapping[str, int] = field(default_factory=dict)
    model_batch: int | None = None
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadModel:
    """A model as a worker has read it: its summary, as JSON, its packed DAG, its packed graph,
    and packed tables. ``has_data``: whether its file holds data of weights that the graph lacks."""

    summary: dict[str, Any]
    has_data: bool
    dag: bytes = field(repr=False)
    graph: bytes = field(repr=False)
    tables: dict[Family, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CutOptions:
    """Which half of a model is wanted; see ``Division`` of halves."""

    side: Literal["device", "server"]
    device: Sequence[str]
    server: Sequence[str]
    model_id: str
    split_id: str


@dataclass(frozen=True, slots=True)
class CutHalf:
    """The file of a half in pieces, in order: bytes, and (start, end) of bytes of the uploaded
    file. ``lost``: a tensor whose data the upload neither had nor referred to, if there is one."""

    pieces: Sequence[bytes | tuple[int, int]] = field(repr=False)
    lost: str | None

    @property
    def nbytes(self) -> int:
        """How long the file of the half is."""
        return sum(
            len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in self.pieces
        )


class Workers:
    """A number of workers at a time, each a fresh process. Nothing starts before ``start``.

    Those who wait for a worker do so in order, and take none of the threads that others need.
    """

    def __init__(self, count: int, limits: WorkerLimits, most_waiting: int = 64) -> None:
        self._limits = limits
        self._limiter = CapacityLimiter(count)
        self._most_waiting = most_waiting
        self._lock = threading.Lock()
        self._zygote: _Zygote | None = None
        self._is_open = False

    def start(self) -> None:
        """Start the zygote, without waiting for what it imports."""
        with self._lock:
            self._is_open = True
            self._zygote = _Zygote()

    def stop(self) -> None:
        """End all processes; jobs that are under way fail with ``NotReadyError``."""
        with self._lock:
            self._is_open = False
            if self._zygote is not None:
                self._zygote.end()
                self._zygote = None

    async def read(self, file: BinaryIO, options: ReadOptions) -> ReadModel:
        """Have a model read. Raises ``IngestError``, or ``NotReadyError`` without workers."""
        return await to_thread.run_sync(self._read, file, options, limiter=self._limiter)

    async def cut(self, graph: bytes, read: ReadOptions, cut: CutOptions) -> CutHalf:
        """Have a half of a packed graph made. Raises ``IngestError``, ``WrongFileError`` where the
        division is not one of this graph, ``BusyError`` where too many wait, or ``NotReadyError``
        without workers."""
        waiting = self._limiter.statistics().tasks_waiting
        if waiting >= self._most_waiting:
            raise BusyError(
                f"{waiting} models wait to be read or cut, as many as this service lets wait "
                "(KERF_QUEUE_UPLOADS); try again"
            )
        return await to_thread.run_sync(self._cut, graph, read, cut, limiter=self._limiter)

    async def build(self, dag: bytes, families: Sequence[Family]) -> dict[Family, bytes]:
        """Have tables of a packed DAG built, and packed: those that the limits allow."""
        return await to_thread.run_sync(self._build, dag, families, limiter=self._limiter)

    def _read(self, file: BinaryIO, options: ReadOptions) -> ReadModel:
        with self._job(Frame(self._reading(options)), file) as job:
            answer = job.answer_of_kind("model")
            graph = job.answer_of_kind("graph").blob
            job.allow(TABLE_SHARE * self._limits.seconds)
            has_data = bool(answer.header.get("has_data"))
            return ReadModel(_summary(answer), has_data, answer.blob, graph, dict(_tables(job)))

    def _cut(self, graph: bytes, read: ReadOptions, cut: CutOptions) -> CutHalf:
        with self._job(Frame({**self._reading(read), **asdict(cut)}, graph), None) as job:
            return _half(job.answer_of_kind("half"))

    def _reading(self, options: ReadOptions) -> dict[str, Any]:
        return {
            "dims": dict(options.dims),
            "model_batch": options.model_batch,
            "parameters": options.parameters,
            "limits": dict(self._limits.model),
        }

    def _build(self, dag: bytes, families: Sequence[Family]) -> dict[Family, bytes]:
        header = {"families": [family.value for family in families]}
        with self._job(Frame(header, dag), None) as job:
            return dict(_tables(job))

    @contextmanager
    def _job(self, request: Frame, file: BinaryIO | None) -> "Iterator[_Job]":
        """A worker that has been given a job, and is gone when the block ends."""
        connection, watch = self._fork(file)
        with closing(connection), closing(watch):
            watch.settimeout(START_S)
            if _received(watch) != frames.STARTED:
                raise NotReadyError("no worker could be started; try again")
            limits = self._limits
            job = _Job(connection, watch, limits, time.monotonic() + limits.seconds)
            bounds = {"memory_bytes": limits.memory_bytes, "seconds": limits.seconds}
            try:
                with suppress(OSError):  # Where the worker is gone, its status says why.
                    frames.send(connection, Frame({**request.header, **bounds}, request.blob))
                yield job
            finally:
                _end(watch)

    def _fork(self, file: BinaryIO | None) -> tuple[socket.socket, socket.socket]:
        with self._lock:
            if not self._is_open:
                raise NotReadyError("the service is stopping")
            try:
                for _ in range(2):
                    if self._zygote is None:
                        self._zygote = _Zygote()
                    try:
                        return self._zygote.fork(file)
                    except (ConnectionError, TimeoutError):
                        # It has been killed, or stands still; the next one starts afresh.
                        self._zygote.end()
                        self._zygote = None
                        metrics.ZYGOTE_RESTARTS.inc()
            except OSError as error:
                raise NotReadyError(f"no worker could be started: {error.strerror}") from error
        raise NotReadyError("no worker could be started; try again")


class _Zygote:
    """The process that workers are forked from; see ``app.worker.zygote``."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._control.settimeout(START_S)
        kept = {name: text for name, text in os.environ.items() if not name.startswith("KERF_")}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-c", _BOOT, json.dumps(sys.path), str(theirs.fileno())],
                # One thread, because a process with several cannot be forked safely.
                env={**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Ctrl-C is for the service, which then ends this process in order.
                start_new_session=True,
            )

    def fork(self, file: BinaryIO | None) -> tuple[socket.socket, socket.socket]:
        """Ask for a worker; the sockets to talk to it, and to watch it."""
        connection, theirs = socket.socketpair()
        watch, watched = socket.socketpair()
        passed = [theirs.fileno(), watched.fileno(), *([file.fileno()] if file else [])]
        with theirs, watched:
            try:
                socket.send_fds(self._control, [frames.REQUEST], passed)
            except OSError:
                connection.close()
                watch.close()
                raise
        return connection, watch

    def end(self) -> None:
        """Close the control socket, which ends the process and its workers, and wait for that."""
        self._control.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Job:
    """What a worker answers, and what becomes of it."""

    def __init__(
        self,
        connection: socket.socket,
        watch: socket.socket,
        limits: WorkerLimits,
        deadline: float,
    ) -> None:
        self._connection = connection
        self._watch = watch
        self._limits = limits
        self._deadline = deadline

    def allow(self, seconds: float) -> None:
        """Move the deadline to so many seconds from now, if that is earlier."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def answer(self) -> Frame:
        """The next frame. Raises ``IngestError`` where the worker dies or takes too long."""
        try:
            frame = frames.receive(self._connection, self._deadline)
        except TimeoutError as error:
            raise self._too_slow() from error
        except (BrokenFrameError, OSError):
            frame = None
        if frame is None:
            raise self._dead()
        return frame

    def answer_of_kind(self, kind: str) -> Frame:
        """The next frame, which has to be of a kind; else what it says is raised."""
        answer = self.answer()
        if answer.header.get("kind") != kind:
            self._fail(answer)
        return answer

    def _fail(self, answer: Frame) -> NoReturn:
        """Raise what a worker says went wrong."""
        header = answer.header
        if header.get("kind") == "refused":
            raise _refusal(header)
        if header.get("kind") == "out-of-memory":
            metrics.READER_DEATHS["out-of-memory"].inc()
            raise LimitExceededError(
                f"reading the model takes more than {self._limits.memory_bytes} bytes of memory, "
                "which is what this service allows (KERF_INGEST_MEMORY_BYTES)"
            )
        what = str(header.get("what", "no answer"))
        metrics.READER_DEATHS["failed"].inc()
        # Its words may quote the model.
        _logger.warning("a model could not be read: %s", what.partition(": ")[0])
        raise ReaderFailedError(
            f"the model could not be read, for a reason of the service's own ({what}); please "
            "report it"
        )

    def _dead(self) -> IngestError | NotReadyError:
        self._watch.settimeout(STATUS_S)
        status = _received(self._watch).decode("ascii", "replace")
        if not status:
            # The zygote is gone as well, so it was not the model.
            return NotReadyError("the worker processes were stopped; try again")
        if status == str(-signal.SIGXCPU):
            return self._too_slow()
        metrics.READER_DEATHS["died"].inc()
        name = _signal_name(status)
        return ReaderFailedError(
            f"the process that read the model died ({name}); the file is damaged, or needs more "
            "memory than there is (KERF_INGEST_MEMORY_BYTES)"
        )

    def _too_slow(self) -> LimitExceededError:
        metrics.READER_DEATHS["too-slow"].inc()
        return LimitExceededError(
            f"reading the model took longer than {self._limits.seconds:g} s, which is what this "
            "service allows (KERF_INGEST_SECONDS)"
        )


def _tables(job: _Job) -> Iterator[tuple[Family, bytes]]:
    """The tables that come before the end, whatever that is."""
    with suppress(KerfError, ValueError):
        while (answer := job.answer()).header.get("kind") == "table":
            yield Family(str(answer.header.get("family"))), answer.blob
        if answer.header.get("kind") != "done":
            _logger.warning("a table could not be built: %s", answer.header.get("kind"))


def _end(watch: socket.socket) -> None:
    """Have a worker killed, unless it has ended, and wait until it is gone: only then may the next
    one start."""
    with suppress(OSError):
        watch.shutdown(socket.SHUT_WR)
        watch.settimeout(STATUS_S)
        while _received(watch):
            pass


def _received(watch: socket.socket) -> bytes:
    try:
        return watch.recv(16)
    except OSError:
        return b""


def _summary(answer: Frame) -> dict[str, Any]:
    summary = answer.header.get("summary")
    if (
        isinstance(summary, dict)
        and isinstance(summary.get("bound_dims"), dict)
        and isinstance(summary.get("model_batch"), int)
    ):
        return summary
    raise ReaderFailedError("the process that read the model gave no summary of it")


def _half(answer: Frame) -> CutHalf:
    pieces: list[bytes | tuple[int, int]] = []
    at = 0
    for place in answer.header.get("pieces", []):
        match place:
            case int(count) if 0 <= count <= len(answer.blob) - at:
                pieces.append(answer.blob[at : at + count])
                at += count
            case [int(start), int(end)] if 0 <= start <= end:
                pieces.append((start, end))
            case _:
                raise ReaderFailedError("the process that cut the model gave no half of it")
    lost = answer.header.get("lost")
    return CutHalf(pieces, None if lost is None else str(lost))


def _refusal(header: Mapping[str, Any]) -> KerfError:
    kind = getattr(errors, str(header.get("error")), IngestError)
    if not (isinstance(kind, type) and issubclass(kind, IngestError | WrongFileError)):
        kind = IngestError
    loc = header.get("loc")
    path = [step for step in loc if isinstance(step, str | int)] if isinstance(loc, list) else []
    return kind(str(header.get("detail")), loc=path)


def _signal_name(status: str) -> str:
    try:
        return signal.Signals(-int(status)).name
    except ValueError:
        return f"status {status}"
