"""The machine at hand, described."""

import os
import platform

import onnxruntime as ort

from app.calibration import describe_machine
from app.calibration.machine import memory_bytes


def test_a_machine_is_described_by_facts_that_its_users_know() -> None:
    """A profile's machine has a processor, cores, a system, and the versions that ran."""
    facts = describe_machine().as_json()
    assert list(facts) == ["cpu", "cores", "os", "python", "onnxruntime"]
    assert facts["cpu"]
    assert 1 <= int(facts["cores"]) <= (os.cpu_count() or 1)
    assert str(facts["os"]).startswith(platform.system())
    assert facts["python"] == platform.python_version()
    assert facts["onnxruntime"] == ort.__version__


def test_memory_is_what_a_process_could_have() -> None:
    """The memory of this machine is known, and is more than this test needs."""
    found = memory_bytes()
    assert found is not None
    assert found > 2**28
