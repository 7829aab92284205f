"""Uploaded files that are kept: five verbs, over a local directory or an S3 bucket."""

from app.store.blobs.contract import BlobInfo, BlobNotFoundError, BlobStore
from app.store.blobs.opening import open_blobs
from app.store.blobs.pieces import Pieces

__all__ = ["BlobInfo", "BlobNotFoundError", "BlobStore", "Pieces", "open_blobs"]
