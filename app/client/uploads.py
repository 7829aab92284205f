"""A model on its way to the service: without its weights, unless these are to go as well."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import httpx

from app.api.schemas import ModelOut
from app.client.answers import parsed
from app.client.calls import Call, idempotent
from app.client.streams import Counted, Progress


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What came of an upload.

    ``is_new``: whether the service did not have the same content, dimensions and batch already.
    ``sent_bytes``: of the file as it was sent; ``saved_bytes``: of its weights, which were not.
    """

    model: ModelOut
    is_new: bool
    sent_bytes: int
    saved_bytes: int


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be known beside the file (see ``Client.upload``)."""

    name: str | None
    dims: Mapping[str, int] | None
    model_batch: int | None
    parameters: Sequence[str]

    def as_fields(self) -> dict[str, str]:
        """Texts of the form."""
        fields = {}
        if self.name is not None:
            fields["name"] = self.name
        if self.dims:
            fields["dims"] = json.dumps(dict(self.dims))
        if self.model_batch is not None:
            fields["model_batch"] = str(self.model_batch)
        if self.parameters:
            fields["parameters"] = json.dumps(list(self.parameters))
        return fields


class Outgoing:
    """The content of a file that is being sent; a context manager, as it may be the open file.

    ``nbytes``: of the content; ``saved_bytes``: by how much it is shorter than the file.
    """

    def __init__(self, path: Path, send_weights: bool) -> None:
        """Raises ``IngestError`` and ``OSError``."""
        # A name may hold bytes that are no text; that matters too little to refuse the file.
        self.name = path.name.encode(errors="replace").decode()
        self.content: BinaryIO = path.open("rb")
        try:
            self.nbytes = self.content.seek(0, io.SEEK_END)
            self.saved_bytes = 0
            if not send_weights:
                self._strip()
        except BaseException:
            self.content.close()
            raise

    def _strip(self) -> None:
        # It loads onnx, which takes longer than all the rest of the client.
        from app.ingest.stripping import strip_file

        with self.content as file:
            stripped = strip_file(file, self.name)
        self.content, self.nbytes = io.BytesIO(stripped.content), len(stripped.content)
        self.saved_bytes = stripped.saved_bytes

    def __enter__(self) -> "Outgoing":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.content.close()


def upload(
    outgoing: Outgoing,
    options: Options,
    on_progress: Progress | None,
    idempotency_key: str | None = None,
) -> Call[Uploaded]:
    """Send a file, piece by piece as it is read."""
    # httpx knows how to make a form; it is sent like every other call.
    form = httpx.Request(
        "POST",
        "http://form.invalid",
        data=options.as_fields(),
        files={"file": (outgoing.name, outgoing.content, "application/octet-stream")},
    )
    assert isinstance(form.stream, httpx.SyncByteStream)
    nbytes = int(form.headers["content-length"])

    def read(response: httpx.Response) -> Uploaded:
        model = parsed(response, ModelOut)
        is_new = response.status_code == httpx.codes.CREATED
        return Uploaded(model, is_new, outgoing.nbytes, outgoing.saved_bytes)

    return Call(
        "POST",
        "/models",
        read,
        headers={"Content-Type": form.headers["content-type"]} | idempotent(idempotency_key),
        stream=Counted(form.stream, nbytes, on_progress),
        reads_a_model=True,
    )
