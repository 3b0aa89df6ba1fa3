"""A real S3 server of our own on loopback: SeaweedFS, from its wheel."""

import json
import os
import secrets
import shutil
import signal
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from dev.devserver.ports import LOOPBACK, free_port
from dev.devserver.process import Child, StartError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class S3Server:
    """`access_key_id` and `secret_access_key` may do everything, `reader` (a pair) may only read."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder.resolve()
        self.access_key_id, self.secret_access_key = "AKIA" + secrets.token_hex(6).upper(), secrets.token_urlsafe(24)
        self.reader = ("AKIA" + secrets.token_hex(6).upper(), secrets.token_urlsafe(24))
        self.port = free_port()
        self._child = Child("SeaweedFS", self._folder / "weed.log", stop_signal=signal.SIGKILL)

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self, timeout_s: float = 40) -> None:
        """Raises: StartError."""
        program = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
        if program is None:
            raise StartError("weed is not there: run `make venv`")
        config = self._folder / "s3.json"
        config.write_text(json.dumps({"identities": self._identities()}), encoding="utf-8")
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        ports = [f"-{name}={free_port()}" for name in _PORTS]
        command = [
            program,
            *("server", f"-dir={data}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", "-master.telemetry=false"),
            *("-filer", "-s3", f"-s3.port={self.port}", f"-s3.config={config}", *ports),
            *("-volume.max=20", "-master.volumeSizeLimitMB=512", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        ]
        self._child.start(command, environ={**os.environ, "HOME": str(self._folder)})
        self._child.wait_until(self._answers, timeout_s)

    def client(self) -> "S3Client":
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(s3={"addressing_style": "path"}, retries={"mode": "standard", "total_max_attempts": 8}),
        )

    def stop(self) -> None:
        self._child.stop()

    def _identities(self) -> list[dict[str, Any]]:
        pairs = (
            ("all", (self.access_key_id, self.secret_access_key), ["Admin", "Read", "Write", "List"]),
            ("reader", self.reader, ["Read", "List"]),
        )
        return [
            {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
            for name, (key, secret), actions in pairs
        ]

    def _answers(self) -> bool:
        """Whether a bucket can be made: the gateway listens before the parts behind it are up."""
        try:
            self.client().list_buckets()
            urllib.request.urlopen(self.endpoint, timeout=2)  # noqa: S310 - http to loopback
        except urllib.error.HTTPError:
            return True
        except Exception:  # noqa: BLE001 - not up yet, in whatever way; `wait_until` bounds the wait
            return False
        return True


_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "s3.port.grpc"),
)
