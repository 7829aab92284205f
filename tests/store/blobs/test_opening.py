"""URLs of blob stores, and the settings that name one."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings
from app.store.blobs import open_blobs
from app.store.blobs.location import S3Location, parse_blob_url
from tests.server import environment

NOT_URLS = [
    "",
    "blobs",
    "/srv/blobs",
    "file:blobs",
    "file://host/blobs",
    "file://",
    "file:///srv/%00",
    "file:///srv/blobs?a=b",
    "file:///srv/blobs#a",
    "http://127.0.0.1/blobs",
    "gs://bucket",
    "s3://",
    "s3:bucket",
    "s3:///prefix",
    "s3://b",
    "s3://bu cket",
    "s3://bucket:9000/prefix",
    "s3://key:topsecret@bucket/prefix",
    "s3://bucket/a//b",
    "s3://bucket/a/../b",
    "s3://bucket/a b",
    "s3://bucket?endpoint=http://topsecret@host",
    "s3://[bucket",
]
LAZY = """
import sys
import app.main
from app.store.blobs import open_blobs
open_blobs(sys.argv[1])
print(sorted({"boto3", "botocore", "urllib3"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("file:///srv/blobs", Path("/srv/blobs")),
        ("file://localhost/srv/blobs/", Path("/srv/blobs")),
        ("file:///srv/some%20blobs%23%3F", Path("/srv/some blobs#?")),
        ("s3://bucket", S3Location("bucket", "")),
        ("s3://bucket/", S3Location("bucket", "")),
        ("s3://my.bucket-1/Some/pre_fix", S3Location("my.bucket-1", "Some/pre_fix/")),
        ("s3://bucket/prefix/", S3Location("bucket", "prefix/")),
    ],
)
def test_what_a_url_names(url: str, location: Path | S3Location) -> None:
    """A URL names a directory, or a bucket and what its keys start with."""
    assert parse_blob_url(url) == location


@pytest.mark.parametrize("url", NOT_URLS)
def test_other_urls_are_refused(url: str) -> None:
    """Any other text is refused, with a sentence that holds no password of it."""
    with pytest.raises(ValueError, match=r"URL|file:///|s3://") as told:
        open_blobs(url)
    assert "topsecret" not in str(told.value)


@pytest.mark.parametrize("url", NOT_URLS)
def test_a_url_that_is_none_is_an_error_of_the_settings(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings refuse what is no URL of a blob store."""
    monkeypatch.setenv("KERF_BLOB_URL", url)
    with pytest.raises(ValidationError) as told:
        Settings()
    assert [error["loc"] for error in told.value.errors()] == [("blob_url",)]


def test_a_service_with_a_wrong_url_does_not_start(tmp_path: Path) -> None:
    """``kerf serve`` with a wrong URL ends at once, with a sentence that names the setting."""
    result = subprocess.run(
        [sys.executable, "-m", "app", "serve", "--port", "0"],
        env={**environment(tmp_path), "KERF_BLOB_URL": "ftp://host/blobs"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert "KERF_BLOB_URL" in result.stderr
    assert "file:///directory or s3://bucket/prefix" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["data", "with space", "100%20#?", "ö"])
def test_the_default_is_in_the_data_directory(tmp_path: Path, name: str) -> None:
    """Unset, blobs are in the directory ``blobs`` of the data directory, whatever its name."""
    settings = Settings(data_dir=tmp_path / name)
    assert parse_blob_url(settings.effective_blob_url) == tmp_path / name / "blobs"
    assert not settings.keep_weights


def test_the_settings_name_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """``KERF_BLOB_URL`` and ``KERF_KEEP_WEIGHTS`` set where weights are kept, and whether."""
    monkeypatch.setenv("KERF_BLOB_URL", "s3://bucket/prefix")
    monkeypatch.setenv("KERF_KEEP_WEIGHTS", "true")
    assert Settings().effective_blob_url == "s3://bucket/prefix"
    assert Settings().keep_weights


def test_a_directory_needs_no_s3(tmp_path: Path) -> None:
    """The service does not load the library of S3 for a directory."""
    result = subprocess.run(
        [sys.executable, "-c", LAZY, (tmp_path / "blobs").as_uri()], capture_output=True, text=True
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")
