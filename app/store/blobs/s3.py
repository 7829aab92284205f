"""Blobs in a bucket of S3, or of a server that speaks its protocol.

Through boto3: AWS maintains it, servers other than AWS's are tested against it, it finds
credentials wherever AWS's other tools do, and its time limits are for silence, so a slow reader of
a long blob is not cut off. obstore is smaller and quicker to load, but limits a whole transfer,
retries for minutes, and hides an error of the file that it reads.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from app.errors import DiskFullError, NotReadyError
from app.store.blobs.contract import LEFTOVER_AGE_S, BlobInfo, BlobNotFoundError
from app.store.blobs.keys import check_key, check_prefix, is_key
from app.store.blobs.location import S3Location
from app.store.blobs.pieces import Pieces, bounded

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import GetObjectOutputTypeDef

PART_BYTES = 2**23
"""Of a larger file, sent at a time and held in memory; S3 takes no less than 5 MiB."""
_CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": 3},
    max_pool_connections=50,
)
_TRANSFER = TransferConfig(
    multipart_threshold=PART_BYTES,
    multipart_chunksize=PART_BYTES,
    # Parts go one after the other, from the thread that calls, or many would be in memory.
    use_threads=False,
)
_NO_ROOM = 507
_NOT_FOUND = 404


class S3Blobs:
    """A ``BlobStore`` in a bucket. Server, region and credentials come from the ``AWS_``
    variables, or from wherever else boto3 looks for them."""

    def __init__(self, location: S3Location) -> None:
        self._bucket = location.bucket
        self._prefix = location.prefix
        try:
            self._client: S3Client = Session().client("s3", config=_CONFIG)
        except (BotoCoreError, ValueError) as error:
            raise ValueError(f"S3 cannot be used: {error}") from error

    def put(self, key: str, file: BinaryIO) -> None:
        """See ``BlobStore``."""
        name = self._name(key)
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        # A file that goes in one part would be read, and closed, by the library's HTTP client.
        source = file if size_bytes >= PART_BYTES else BytesIO(file.read())
        with self._failures("written"):
            self._client.upload_fileobj(source, self._bucket, name, Config=_TRANSFER)

    def read(self, key: str, start: int = 0, end: int | None = None) -> Pieces:
        """See ``BlobStore``."""
        name = self._name(key)
        if start < 0 or (end is not None and end <= start):
            return self._read_nothing(key, start, end)
        with self._failures("read"):
            try:
                answer = self._get(name, start, end)
            except ClientError as error:
                if _code(error) == "NoSuchKey":
                    raise BlobNotFoundError(f"there is no blob {key!r}") from error
                if _code(error) == "InvalidRange":
                    return self._read_nothing(key, start, end)
                raise
        body = answer["Body"]
        try:
            bound = bounded(start, end, _size_bytes(answer))
        except ValueError:
            body.close()
            raise

        def read(nbytes: int) -> bytes:
            with self._failures("read"):
                return body.read(nbytes)

        return Pieces(read, body.close, bound - start)

    def size_bytes(self, key: str) -> int | None:
        """See ``BlobStore``."""
        name = self._name(key)
        with self._failures("read"):
            try:
                return self._client.head_object(Bucket=self._bucket, Key=name)["ContentLength"]
            except ClientError as error:
                if _status(error) != _NOT_FOUND:
                    raise
                # The answer has no body that says what is missing: the blob, or the bucket.
                self._client.head_bucket(Bucket=self._bucket)
                return None

    def delete(self, key: str) -> None:
        """See ``BlobStore``."""
        name = self._name(key)
        with self._failures("written"):
            self._client.delete_object(Bucket=self._bucket, Key=name)

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """See ``BlobStore``."""
        check_prefix(prefix)
        return self._list(prefix)

    def clear_leftovers(self) -> None:
        """See ``BlobStore``."""
        dead_at = datetime.now(UTC) - timedelta(seconds=LEFTOVER_AGE_S)
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=self._prefix
        )
        gone = self._client.exceptions.NoSuchUpload
        # Some servers say this as well where there has never been an upload.
        with self._failures("cleared"), suppress(gone):
            for page in pages:
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < dead_at:
                        # Another process may have cleared it.
                        with suppress(gone):
                            self._client.abort_multipart_upload(
                                Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                            )

    def _name(self, key: str) -> str:
        check_key(key)
        return self._prefix + key

    def _get(self, name: str, start: int, end: int | None) -> "GetObjectOutputTypeDef":
        if start == 0 and end is None:
            return self._client.get_object(Bucket=self._bucket, Key=name)
        last = "" if end is None else end - 1
        return self._client.get_object(Bucket=self._bucket, Key=name, Range=f"bytes={start}-{last}")

    def _read_nothing(self, key: str, start: int, end: int | None) -> Pieces:
        """What ``read`` does for a range without bytes, which S3 does not have, or a wrong one."""
        size_bytes = self.size_bytes(key)
        if size_bytes is None:
            raise BlobNotFoundError(f"there is no blob {key!r}")
        bounded(start, end, size_bytes)
        return Pieces(lambda _nbytes: b"", lambda: None, 0)

    def _list(self, prefix: str) -> Iterator[BlobInfo]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with self._failures("listed"):
            for page in pages:
                for item in page.get("Contents", ()):
                    key = item["Key"].removeprefix(self._prefix)
                    if is_key(key):
                        yield BlobInfo(key, item["Size"], item["LastModified"].astimezone(UTC))

    @contextmanager
    def _failures(self, verb: str) -> Iterator[None]:
        """Turn errors of the library, and of the HTTP client below it, into the contract's."""
        try:
            yield
        except ClientError as error:
            if _status(error) == _NO_ROOM:
                raise DiskFullError(
                    "there is no room for this file in the bucket where the service keeps files; "
                    "try again later, or have its operator make room"
                ) from error
            raise self._not_ready(verb, _code(error)) from error
        except (BotoCoreError, HTTPError) as error:
            raise self._not_ready(verb, type(error).__name__) from error

    def _not_ready(self, verb: str, reason: str) -> NotReadyError:
        return NotReadyError(
            f"the bucket {self._bucket!r} of kept files cannot be {verb} ({reason})"
        )


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def _size_bytes(answer: "GetObjectOutputTypeDef") -> int:
    """Of the whole blob, of which an answer holds a range or everything."""
    content_range = answer.get("ContentRange")
    return int(content_range.rpartition("/")[2]) if content_range else answer["ContentLength"]
