"""A multipart form as it arrives: short texts, and one file that is too large to hold."""

from collections.abc import Sequence
from typing import Any

from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

FORM_BYTES = 2**20
"""All that a form holds beside its file: texts, headers and boundaries."""
MEDIA_TYPE = "multipart/form-data"


class FormReader:
    """Takes the pieces of a body, keeps the texts, and gives the pieces of the file.

    Refuses another field than those it knows, or one given twice, as soon as it comes.
    """

    def __init__(
        self, content_type: str, file_field: str, text_fields: Sequence[str], most_file_bytes: int
    ) -> None:
        self.texts: dict[str, str] = {}
        self.filename: str | None = None
        self._file_field, self._text_fields = file_field, text_fields
        self._most_file_bytes = most_file_bytes
        self._file_bytes = self._text_bytes = 0
        self._pieces: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._header_name = self._header_value = b""
        self._field = ""
        self._text = bytearray()
        self._has_ended = False
        self._parser = self._parser_of(content_type)

    def feed(self, data: bytes) -> list[bytes]:
        """Pieces of the file out of the next piece of the body.

        Raises ``HTTPException`` (400, 413) or ``RequestValidationError``.
        """
        self._pieces = []
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise HTTPException(400, f"the body is no multipart form: {error}") from error
        return self._pieces

    def finish(self) -> None:
        """Say that the body has ended. Raises ``HTTPException`` (400) where the form has not."""
        if not self._has_ended:
            raise HTTPException(400, "the body ends before the multipart form in it does")

    def _parser_of(self, content_type: str) -> MultipartParser:
        _, options = parse_options_header(content_type)
        if not options.get(b"boundary"):
            raise HTTPException(400, "Content-Type names no boundary of the multipart form")
        try:
            return MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_to_header_name,
                    "on_header_value": self._add_to_header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._add_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise HTTPException(400, f"the body is no multipart form: {error}") from error

    def _begin_part(self) -> None:
        self._headers = {}
        self._text = bytearray()

    def _add_to_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_to_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"name" not in options:
            raise HTTPException(400, "a part of the form has no name in Content-Disposition")
        self._field = field = _decoded(options[b"name"])
        is_file = b"filename" in options
        if field in self.texts or (field == self._file_field and self.filename is not None):
            raise at_fault(field, "given twice; give it once")
        if field == self._file_field:
            if not is_file:
                raise at_fault(field, "text; send it as a file part, with a file name")
            self.filename = _decoded(options[b"filename"])
        elif field not in self._text_fields:
            raise at_fault(field, "", "extra_forbidden")
        elif is_file:
            raise at_fault(field, "a file; send it as text, without a file name")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._field == self._file_field:
            self._file_bytes += end - start
            if self._file_bytes > self._most_file_bytes:
                raise HTTPException(413, file_too_large(self._most_file_bytes))
            self._pieces.append(data[start:end])
        else:
            self._text_bytes += end - start
            if self._text_bytes > FORM_BYTES:
                raise HTTPException(
                    413, f"the texts of the form are larger than {FORM_BYTES} bytes"
                )
            self._text += data[start:end]

    def _end_part(self) -> None:
        if self._field != self._file_field:
            self.texts[self._field] = _decoded(bytes(self._text))

    def _end(self) -> None:
        self._has_ended = True


def file_too_large(most_bytes: int) -> str:
    """What a client is told whose file is too large."""
    return (
        f"the file is larger than {most_bytes} bytes, which is what this service takes "
        "(KERF_UPLOAD_BYTES)"
    )


def at_fault(field: str, message: str, kind: str = "given") -> RequestValidationError:
    """A refusal that names a field of the form."""
    fault: dict[str, Any] = {"type": kind, "loc": ("body", field), "msg": message}
    return RequestValidationError([fault])


def _decoded(text: bytes) -> str:
    """As UTF-8, which browsers and curl send; whatever else there is has a meaning in Latin-1."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")
