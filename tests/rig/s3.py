"""A small S3 server of the tests' own (moto), with object lock and conditional writes, on a free port."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "anchors"


@contextmanager
def s3_server() -> Iterator[str]:
    """Give the address of a server that has the bucket `anchors` with object lock, and `unlocked` without."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="attest", aws_secret_access_key="secret"
    )
    client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    client.create_bucket(Bucket="unlocked")
    client.close()
    try:
        yield url
    finally:
        server.stop()
