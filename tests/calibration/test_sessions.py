"""How calibration runs models: as halves are run."""

from pathlib import Path

import pytest

from app.calibration.sessions import profiling_options
from app.halves.runtime import session_options

ENTRIES = ("session.force_spinning_stop", "session.qdq_matmulnbits_accuracy_level")
SETTINGS = (
    *("execution_mode", "graph_optimization_level", "intra_op_num_threads"),
    *("inter_op_num_threads", "use_deterministic_compute", "enable_mem_pattern"),
)


@pytest.mark.parametrize("threads", [1, 3])
def test_models_are_measured_with_the_settings_of_halves(threads: int, tmp_path: Path) -> None:
    """But for the profiler, so what was measured holds for a half; and no thread goes on spinning
    when a run is done, as the other side of a split may need its core."""
    measured, run = profiling_options(threads, tmp_path), session_options(threads=threads)
    for entry in ENTRIES:
        found = measured.get_session_config_entry(entry)
        assert found == run.get_session_config_entry(entry) == "1"
    for setting in SETTINGS:
        assert getattr(measured, setting) == getattr(run, setting)
    assert measured.intra_op_num_threads == threads
    assert (measured.enable_profiling, run.enable_profiling) == (True, False)
