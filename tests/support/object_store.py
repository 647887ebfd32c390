"""A real S3 server on loopback, in a process of its own, with the bytes of tests in it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx

from streamwatch.bench.loopback.rtsp_server import free_port

KEYS = {
    "AWS_ACCESS_KEY_ID": "tester",
    "AWS_SECRET_ACCESS_KEY": "s3cret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "archive"


@dataclass(frozen=True)
class ObjectStore:
    """endpoint: its URL. log: where the server writes each request."""

    endpoint: str
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.endpoint}

    def put(self, key: str, data: bytes) -> str:
        """Store an object; its URL."""
        self.client().put_object(Bucket=BUCKET, Key=key, Body=data)
        return f"s3://{BUCKET}/{key}"

    def want_known_keys(self, wanted: bool) -> None:
        """Whether every request must be signed by a user that the server knows; it knows none."""
        answer = httpx.post(f"{self.endpoint}/moto-api/reset-auth", content=b"0" if wanted else b"inf")
        answer.raise_for_status()

    def reads(self) -> list[str]:
        """Keys whose bytes were read, once for each request."""
        return re.findall(rf'GET /{BUCKET}/([^? ]+) HTTP/1\.1[^"]*" 20\d', self.log.read_text())

    def client(self) -> Any:
        """Another client than the one that is tested."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            region_name=KEYS["AWS_DEFAULT_REGION"],
        )


@contextlib.contextmanager
def serve_objects(folder: Path) -> Iterator[ObjectStore]:
    """A server with one empty bucket."""
    port = free_port()
    store = ObjectStore(f"http://127.0.0.1:{port}", folder / "s3.log")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with store.log.open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    httpx.get(f"{store.endpoint}/moto-api/")
                    break
                except httpx.TransportError:
                    assert process.poll() is None, store.log.read_text()
                    assert time.monotonic() < end
                    time.sleep(0.1)
            store.client().create_bucket(Bucket=BUCKET)
            yield store
        finally:
            process.kill()
