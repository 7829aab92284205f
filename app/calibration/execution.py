"""A labelled model, run: its times, and the graph that ONNX Runtime made of it."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort
from onnx import GraphProto, ModelProto

from app.calibration.labels import Labels
from app.calibration.measuring import Measured, Progress, measured
from app.calibration.sessions import Feeds, Session, profiling_options
from app.errors import CannotRunError
from app.halves.pieces import pieces_of
from app.ingest.left_out import FileRange

_MODEL, _DATA = "optimised.onnx", "optimised.data"


@dataclass(frozen=True, slots=True, eq=False)
class Executed:
    """Times, and the optimised main graph: its nodes stand in the order in which they run."""

    measured: Measured
    optimised: GraphProto


def execute(
    model: ModelProto,
    labels: Labels,
    file: Path,
    feeds: Feeds,
    *,
    threads: int,
    seconds: float,
    directory: Path,
    on_progress: Progress | None = None,
) -> Executed:
    """Run a labelled model for some seconds.

    ``file``: from which the model was read, and which has the data of its weights. ``directory``:
    for what is needed meanwhile. Raises ``CannotRunError``, in the model's own names.
    """
    options = _options(threads, file, directory)
    labelled = {labels.of(name): value for name, value in feeds.items()}
    try:
        session = Session(whole_bytes(model, file), options, labelled)
        found = measured(session, seconds, on_progress)
    except CannotRunError as error:
        raise CannotRunError(labels.restored(error.detail)) from error
    optimised = ModelProto.FromString((directory / _MODEL).read_bytes())
    return Executed(found, optimised.graph)


def _options(threads: int, file: Path, directory: Path) -> ort.SessionOptions:
    options = profiling_options(threads, directory)
    # What the weights' places are relative to.
    entry = "session.model_external_initializers_file_folder_path"
    options.add_session_config_entry(entry, str(file.parent.resolve()))
    options.optimized_model_filepath = str(directory / _MODEL)
    entry = "session.optimized_model_external_initializers_file_name"
    options.add_session_config_entry(entry, _DATA)
    # Only the graph is wanted; where links are to be had, the weights are not even written.
    with suppress(OSError):
        (directory / _DATA).symlink_to(os.devnull)
    return options


def whole_bytes(model: ModelProto, file: Path) -> bytes:
    """The bytes of a model, with the data put back that reading left out."""
    with file.open("rb") as opened:

        def read(piece: FileRange) -> bytes:
            opened.seek(piece.start)
            return opened.read(piece.nbytes)

        pieces = pieces_of(model)
        return b"".join(read(piece) if isinstance(piece, FileRange) else piece for piece in pieces)
