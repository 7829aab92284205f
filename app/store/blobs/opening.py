"""A blob store by its URL."""

from pathlib import Path

from app.store.blobs.contract import BlobStore
from app.store.blobs.local import LocalBlobs
from app.store.blobs.location import parse_blob_url


def open_blobs(url: str) -> BlobStore:
    """The store at ``file:///directory`` or ``s3://bucket/prefix``. Connects when first used.

    A directory is made when missing, a bucket is not. Raises ``ValueError`` for any other URL,
    and for settings of S3 in the environment that its library refuses.
    """
    location = parse_blob_url(url)
    if isinstance(location, Path):
        return LocalBlobs(location)
    # Here, because the library is slow to load and a directory does without it.
    from app.store.blobs.s3 import S3Blobs

    return S3Blobs(location)
