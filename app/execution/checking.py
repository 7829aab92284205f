"""Whether an execution gave what the whole model gives."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from app.execution.results import Execution
from app.halves.comparison import Difference, Value, compare, kind_of
from app.halves.verification import OutputDifference, WholeRun, run_whole


def check(whole: Path, feeds: Mapping[str, Value], execution: Execution) -> list[OutputDifference]:
    """How each output of the whole model differs from that of the last round.

    ``feeds``: as the halves had them. Where neither half was optimised, the whole is not either,
    and they have to agree bit for bit. Raises as ``run_whole`` does.
    """
    runtimes = (execution.device, execution.server)
    optimised = any(runtime.optimised for runtime in runtimes if runtime is not None)
    run = run_whole(whole, feeds, optimised=optimised)
    return [_difference(name, run, execution) for name in run.outputs]


def _difference(name: str, whole: WholeRun, execution: Execution) -> OutputDifference:
    right = whole.outputs[name]
    made = {"device": execution.device_outputs, "server": execution.server_outputs}
    half = next((side for side, outputs in made.items() if name in outputs), None)
    if half is None:
        found = Difference(np.inf, np.inf, is_equal=False, problem="neither side makes it")
    else:
        found = compare(right, made[half][name])
    # What comes of tensors that were cast may have lost any precision, but has to be a number.
    is_cast = execution.smashed_dtype is not None and half == "server"
    problem = found.problem
    if is_cast and problem is None and found.overflowed:
        problem = f"{found.overflowed} of its numbers are NaN or infinite, and finite in the model"
    return OutputDifference(
        name=name,
        half=half,
        dtype=kind_of(right),
        shape=right.shape if isinstance(right, np.ndarray) else None,
        largest_absolute=found.largest_absolute,
        largest_relative=found.largest_relative,
        is_equal=found.is_equal,
        tolerance=None if is_cast else whole.tolerance_of(right, execution.crossing_dtypes),
        problem=problem,
    )
