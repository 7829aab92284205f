"""A multipart form in pieces: what comes out, and what is refused as soon as it comes."""

import pytest
from fastapi import HTTPException
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st

from app.api.form import FORM_BYTES, FormReader

CONTENT_TYPE = "multipart/form-data; boundary=the-boundary"
END = b"--the-boundary--\r\n"


def reader(most_file_bytes: int = 10**6) -> FormReader:
    return FormReader(CONTENT_TYPE, "file", ("name", "dims"), most_file_bytes)


def part(disposition: bytes, content: bytes) -> bytes:
    return (
        b"--the-boundary\r\nContent-Disposition: form-data; "
        + disposition
        + b"\r\n\r\n"
        + content
        + b"\r\n"
    )


NAME = part(b'name="name"', "größe".encode())
FILE = b'name="file"; filename="m.onnx"'

TRICKY = st.sampled_from([b"\r\n", b"--", b"\r\n--the-bounda", b"\r", b"-", b"the-boundary", b"x"])
CONTENTS = st.binary(max_size=200) | st.lists(TRICKY, max_size=30).map(b"".join)


@given(content=CONTENTS, cuts=st.lists(st.integers(0, 700), max_size=12), first=st.booleans())
def test_pieces_make_the_same_form(content: bytes, cuts: list[int], first: bool) -> None:
    """However a body is cut into pieces, and whatever resembles a boundary in it, the file comes
    out as it went in, and so do the texts beside it."""
    if b"\r\n--the-boundary" in content:
        return
    parts = [part(FILE, content), NAME]
    body = b"".join(parts if first else parts[::-1]) + END
    form = reader()
    ends = sorted(min(cut, len(body)) for cut in cuts)
    pieces = [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]
    received = b"".join(piece for data in pieces for piece in form.feed(data))
    form.finish()
    assert received == content
    assert form.texts == {"name": "größe"}
    assert form.filename == "m.onnx"


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (part(b'name="nmae"', b"x"), "nmae", ""),
        (part(b'name="other"; filename="x"', b"x"), "other", ""),
        (NAME + NAME, "name", "twice"),
        (part(FILE, b"x") + part(FILE, b"y"), "file", "twice"),
        (part(b'name="file"', b"x"), "file", "file name"),
        (part(b'name="name"; filename="x"', b"x"), "name", "as text"),
    ],
    ids=["unknown", "unknown file", "text twice", "file twice", "file as text", "text as file"],
)
def test_wrong_field_is_refused_before_its_content(body: bytes, field: str, words: str) -> None:
    """A field that is unknown, or comes twice, or in the wrong form, is refused at its head."""
    form = reader()
    body = body[: body.rindex(b"\r\n\r\n") + 4]
    with pytest.raises(RequestValidationError) as refusal:
        form.feed(body)
    (fault,) = refusal.value.errors()
    assert fault["loc"] == ("body", field)
    assert words in fault["msg"]


@pytest.mark.parametrize(
    "body",
    [
        b"no form at all",
        part(b"filename=x", b"x"),
        b"--the-boundary\r\n\r\nx",
        b"--the-boundary\r\nA: " + b"x" * 10_000,
        b"--the-boundary\r\n" + b"A: b\r\n" * 100,
        b"--another-boundary\r\n",
    ],
    ids=["text", "no name", "no header", "long header", "many headers", "other boundary"],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    """What does not keep to the rules of multipart forms is a bad request."""
    with pytest.raises(HTTPException) as refusal:
        reader().feed(body)
    assert refusal.value.status_code == 400


def test_form_that_does_not_end_is_refused() -> None:
    """A form that is cut off is refused at the end of the body, wherever it is cut."""
    body = NAME + part(FILE, b"content") + END
    for length in range(len(body) - len(b"-\r\n")):
        form = reader()
        form.feed(body[:length])
        with pytest.raises(HTTPException) as refusal:
            form.finish()
        assert refusal.value.status_code == 400


@pytest.mark.parametrize("content_type", ["multipart/form-data", f"{CONTENT_TYPE}{'x' * 300}"])
def test_boundary_must_be_one(content_type: str) -> None:
    """Without a boundary, or with an absurd one, there is no form to read."""
    with pytest.raises(HTTPException) as refusal:
        FormReader(content_type, "file", (), 1)
    assert refusal.value.status_code == 400


def test_sizes_are_bounded() -> None:
    """A file of one byte too many is refused when that byte comes, and texts as soon as they are
    larger than a form is allowed to be."""
    form = reader(most_file_bytes=5)
    head = part(FILE, b"").removesuffix(b"\r\n")
    assert b"".join(form.feed(head + b"12345")) == b"12345"
    with pytest.raises(HTTPException) as refusal:
        form.feed(b"6")
    assert refusal.value.status_code == 413
    form = reader()
    form.feed(part(b'name="name"', b"").removesuffix(b"\r\n"))
    form.feed(b"x" * FORM_BYTES)
    with pytest.raises(HTTPException) as refusal:
        form.feed(b"x")
    assert refusal.value.status_code == 413
