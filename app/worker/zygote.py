"""The process that workers are forked from: it has imported all that they need, and waits.

A worker has to be a fresh process, so that nothing it does outlives it, and must not spend a second
on imports. Forking the service itself would be neither safe (it has threads) nor cheap.

``multiprocessing`` has such a process too, its fork server. It would import the program that the
service was started by into every worker anew, run one more process to keep track of resources, and
answer with pickles. This does what is needed and no more.

The service sends a byte over the control socket, and with it: the socket by which it will talk to
the worker, a socket by which it watches it, and perhaps a file. Over the second one the zygote says
that the worker has started, and at its end its exit status; when the service shuts it, the worker
is killed. When the control socket closes, the service is gone, and so is all that was forked.
"""

import gc
import os
import selectors
import signal
import socket
from contextlib import suppress

from app.worker.confinement import die_with_parent
from app.worker.frames import REQUEST, STARTED
from app.worker.jobs import work

MOST_FILES = 3
"""That come with a request: connection, watch, and the file to read if there is one."""


def main(control: socket.socket) -> None:
    """Fork workers until the service is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Meant for the service: what it has begun ends with it, or before it.
        signal.signal(number, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    Zygote(control).run()


class Zygote:
    """Forks workers, kills them when nobody waits for them any more, and tells how they ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._watches: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._wakeup, waker = socket.socketpair()
        self._waker = waker
        for end in (self._wakeup, waker):
            end.setblocking(False)
        self._selector.register(control, selectors.EVENT_READ, None)
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)

    def run(self) -> None:
        """Serve until the control socket closes."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._control:
                    if not self._serve_request():
                        self._end()
                        return
                elif key.fileobj is self._wakeup:
                    with suppress(BlockingIOError):
                        self._wakeup.recv(4096)
                    self._reap()
                elif self._watches.get(key.data) is key.fileobj:
                    self._kill(key.data)

    def _serve_request(self) -> bool:
        """Fork a worker; whether the service is still there."""
        try:
            request, descriptors, _, _ = socket.recv_fds(self._control, len(REQUEST), MOST_FILES)
        except ConnectionError:
            return False
        if not request:
            return False
        connection, watch = (socket.socket(fileno=number) for number in descriptors[:2])
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            # The watch closes without a word, which tells that there is no worker.
            pid = -1
        if pid == 0:
            self._become_worker(parent, connection, watch, descriptors[2:])
        connection.close()
        for number in descriptors[2:]:
            os.close(number)
        if pid < 0:
            watch.close()
            return True
        self._watches[pid] = watch
        self._selector.register(watch, selectors.EVENT_READ, pid)
        with suppress(OSError):
            watch.sendall(STARTED)
        return True

    def _become_worker(
        self, parent: int, connection: socket.socket, watch: socket.socket, files: list[int]
    ) -> None:
        """Do the job and end, in the forked process."""
        status = 1
        try:
            die_with_parent(parent)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for end in (self._control, self._wakeup, self._waker, watch, *self._watches.values()):
                end.close()
            work(connection, os.fdopen(files[0], "rb") if files else None)
            status = 0
        finally:
            # Without the interpreter's usual end, which would run what the zygote left to run.
            os._exit(status)

    def _kill(self, pid: int) -> None:
        self._selector.unregister(self._watches[pid])
        os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        """Tell of the workers that have ended."""
        while self._watches:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            watch = self._watches.pop(pid)
            with suppress(KeyError):
                self._selector.unregister(watch)
            with suppress(OSError):
                watch.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            watch.close()

    def _end(self) -> None:
        for pid in self._watches:
            os.kill(pid, signal.SIGKILL)
        for pid in self._watches:
            os.waitpid(pid, 0)
