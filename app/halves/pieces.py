"""A model as a file, with the data put back that reading left out, without holding these.

What comes out is the file in pieces, in order: bytes, and ranges of the file that the model was
read from. So whoever has that file can stream the half, wherever the file is.
"""

from io import BytesIO

from onnx import ModelProto, TensorProto

from app.ingest.left_out import KEY, FileRange, left_out_of
from app.ingest.messages import MODEL, TENSOR, Message, field_number
from app.ingest.wire import LENGTH, WireReader, length_header

Piece = bytes | FileRange

_RAW_DATA = field_number(TensorProto, "raw_data")
_LOOKED_FOR = KEY.encode()
"""Stands in every tensor whose data were left out, and next to nowhere else."""


def pieces_of(model: ModelProto) -> list[Piece]:
    """The file of a model; its tensors say where their data are (``app.ingest.left_out``)."""
    found = _Pieces()
    found.add_message(MODEL, model.SerializeToString())
    return found.joined()


def nbytes_of_pieces(pieces: list[Piece]) -> int:
    """How long the file is."""
    return sum(piece.nbytes if isinstance(piece, FileRange) else len(piece) for piece in pieces)


class _Pieces:
    """Pieces of one message after the other."""

    def __init__(self) -> None:
        self._pieces: list[Piece] = []

    @property
    def nbytes(self) -> int:
        return nbytes_of_pieces(self._pieces)

    def add_message(self, message: Message, content: bytes) -> None:
        """Add the content of a message, in which, or in whose children, data may be missing."""
        if _LOOKED_FOR not in content:
            self._pieces.append(content)
        elif message is TENSOR:
            self._add_tensor(content)
        else:
            self._add_fields(message, content)

    def joined(self) -> list[Piece]:
        """The pieces, with bytes that follow each other in one."""
        joined: list[Piece] = []
        buffer = bytearray()
        for piece in self._pieces:
            if isinstance(piece, bytes):
                buffer += piece
                continue
            if buffer:
                joined.append(bytes(buffer))
                buffer.clear()
            joined.append(piece)
        return [*joined, bytes(buffer)] if buffer else joined

    def _add_fields(self, message: Message, content: bytes) -> None:
        reader = WireReader(BytesIO(content))
        copied = 0
        for item in reader.fields(0, len(content)):
            child = message.children.get(item.number)
            inside = content[item.value : item.end]
            if child is None or item.wire_type != LENGTH or _LOOKED_FOR not in inside:
                continue
            nested = _Pieces()
            nested.add_message(child, inside)
            self._pieces.append(content[copied : item.start])
            self._pieces.append(length_header(item.number, nested.nbytes))
            self._pieces.extend(nested._pieces)
            copied = item.end
        self._pieces.append(content[copied:])

    def _add_tensor(self, content: bytes) -> None:
        tensor = TensorProto.FromString(content)
        data = left_out_of(tensor)
        if data is None:
            # Something in it happens to hold what is looked for.
            self._pieces.append(content)
            return
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
        self._pieces.append(tensor.SerializeToString())
        if data.is_raw:
            self._pieces.append(length_header(_RAW_DATA, data.nbytes))
        self._pieces.extend(data.ranges)
