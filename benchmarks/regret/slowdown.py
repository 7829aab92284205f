"""A core that is slow, for the device's processes.

The kernel's own quotas for a control group come in steps of 1 ms: whoever has waited for its data
may then run for a whole millisecond at full speed, which a slow processor does not. So a real-time
process takes the core away for seven eighths of the time instead, in turns of some 150 us; what is
left is a core of about a tenth of the speed, over a few milliseconds and more.
"""

import os
import signal
import subprocess
import sys
from types import TracebackType

ON_US, OFF_US = 1050, 150
DEVICE_CORE, OTHER_CORE = 0, 1


class SlowCore:
    """``DEVICE_CORE``, slow between ``on`` and ``off``. A context manager.

    ``is_permitted``: whether this user may slow it down; else ``on`` does nothing.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-m", "benchmarks.regret.hog"]
        self._hog = subprocess.Popen(
            [*command, *map(str, (DEVICE_CORE, ON_US, OFF_US))],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._hog.stdout is not None
        self.is_permitted = self._hog.stdout.readline() == "\n"
        self.off()

    def __enter__(self) -> "SlowCore":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hog.kill()
        self._hog.communicate()

    def on(self) -> None:
        """Take it away, from now on."""
        self._hog.send_signal(signal.SIGCONT)

    def off(self) -> None:
        """Give it back, as while something is loaded that is not measured."""
        self._hog.send_signal(signal.SIGSTOP)


def hold_to(core: int) -> None:
    """Keep the calling process, and what it starts, on one core, and ahead of others there."""
    os.sched_setaffinity(0, {core})
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
