"""A model in ONNX Runtime as it is deployed: all optimisations on, one node after the other."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime as ort

from app.errors import CannotRunError
from app.halves.ort_values import fed, is_foreign, wrapped
from app.halves.runtime import session_options
from app.ingest.reasons import reason

Feeds = Mapping[str, Any]
"""By name: arrays, or what else ONNX Runtime takes (a list for a sequence)."""


def profiling_options(threads: int, directory: Path) -> ort.SessionOptions:
    """Those of every model that Kerf runs, with ``threads`` threads within a node, and the profiler
    on, whose file goes to a directory."""
    options = session_options(threads=threads)
    options.enable_profiling = True
    options.profile_file_prefix = str(directory / "profile")
    return options


class Session:
    """A model on the CPU, ready to run time and again on the same inputs."""

    def __init__(self, model: bytes, options: ort.SessionOptions, feeds: Feeds) -> None:
        """Load a model; ``feeds``: a value for each input. Raises ``CannotRunError``."""
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self._run = _prepared(self._session, feeds)
        except Exception as error:  # ONNX Runtime's exceptions have no class in common
            raise _cannot("load", error) from error

    def run(self) -> None:
        """Run it once; what comes out is dropped. Raises ``CannotRunError``."""
        try:
            self._run()
        except Exception as error:
            raise _cannot("run", error) from error

    def end_profiling(self) -> Path:
        """Stop the profiler, which the options have to enable; the file that it wrote."""
        return Path(self._session.end_profiling())


def _prepared(session: ort.InferenceSession, feeds: Feeds) -> Callable[[], object]:
    inputs = [*session.get_inputs(), *session.get_overridable_initializers()]
    types = {item.name: str(item.type) for item in inputs}
    fed_values = {name: fed(value, types[name]) for name, value in feeds.items()}
    outputs = {item.name: str(item.type) for item in session.get_outputs()}
    if not any(map(is_foreign, outputs.values())):
        return partial(session.run, list(outputs), fed_values)
    values = {name: wrapped(value) for name, value in fed_values.items()}
    return partial(session.run_with_ort_values, list(outputs), values)


def _cannot(what: str, error: Exception) -> CannotRunError:
    version = ort.__version__
    return CannotRunError(f"ONNX Runtime {version} cannot {what} the model: {reason(error)}")
