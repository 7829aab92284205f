"""Where blobs are kept, from a URL."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


@dataclass(frozen=True, slots=True)
class S3Location:
    """A bucket, and what all keys in it start with: "" or a text that ends in a slash."""

    bucket: str
    prefix: str


def parse_blob_url(url: str) -> Path | S3Location:
    """The directory of ``file:///directory``, or the bucket of ``s3://bucket/prefix``.

    Raises ``ValueError`` with a sentence that does not repeat the URL, which may hold secrets.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"this is no URL: {error}") from error
    if parts.query or parts.fragment:
        raise ValueError("the URL of a blob store has no '?' and no '#'; write %3F and %23")
    if parts.scheme == "file":
        return _directory(parts)
    if parts.scheme == "s3":
        return _bucket(parts)
    raise ValueError("a blob store is file:///directory or s3://bucket/prefix")


def _directory(parts: SplitResult) -> Path:
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or "\0" in path:
        raise ValueError("a directory is file:/// and an absolute path, as in file:///srv/blobs")
    return Path(path)


def _bucket(parts: SplitResult) -> S3Location:
    if "@" in parts.netloc:
        raise ValueError(
            "the URL of a bucket holds no credentials; they come from AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or from wherever else AWS's libraries find them"
        )
    if _BUCKET.fullmatch(parts.netloc) is None:
        raise ValueError(
            "s3:// takes the name of a bucket, 3 to 63 letters, digits, '.', '_' and '-', as in "
            "s3://bucket/prefix; the server comes from AWS_ENDPOINT_URL_S3"
        )
    prefix = parts.path.strip("/")
    if prefix and (_PREFIX.fullmatch(prefix) is None or {".", ".."} & set(prefix.split("/"))):
        raise ValueError(
            "the prefix in s3://bucket/prefix is names of letters, digits, '.', '_' and '-' with "
            "slashes between them, and no name of it is '.' or '..'"
        )
    return S3Location(parts.netloc, prefix and f"{prefix}/")
