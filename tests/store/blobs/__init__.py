"""Tests of the blob store: one contract, held by a directory and by S3."""
