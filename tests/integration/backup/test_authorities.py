"""An S3 server whose certificate a company's own authority has signed."""

import ipaddress
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dev.devserver.ports import LOOPBACK
from shieldx_contract import backup as names
from shieldx_runtime.backup import settings
from shieldx_runtime.backup.errors import DestinationError

_EMPTY = b"<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(_EMPTY)))
        self.end_headers()
        self.wfile.write(_EMPTY)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives
        """A test's output is its own."""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for loopback that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a company's own")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir()
    (folder / "ca.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "ca.crt", folder / "tls.key"


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The settings of a destination behind TLS; the authority is in its file."""
    authority, key = certificate(tmp_path / "tls")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)
    server = HTTPServer((LOOPBACK, 0), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    (tmp_path / "access-key-id").write_text("AKIA")
    (tmp_path / "secret-access-key").write_text("secret")
    yield {
        names.ENV_BACKUP_DESTINATION: "s3://copies/below",
        names.ENV_BACKUP_S3_ENDPOINT: f"https://{LOOPBACK}:{server.server_port}",
        names.ENV_BACKUP_S3_CREDENTIALS_DIR: str(tmp_path),
        names.ENV_BACKUP_S3_CA_FILE: str(authority),
    }
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_a_bucket_behind_a_companys_own_authority_is_used_and_behind_an_unknown_one_is_not(
    environ: dict[str, str], tmp_path: Path
) -> None:
    assert list(settings.destination(environ).find("test.credits/")) == []
    other, _ = certificate(tmp_path / "other")
    for ca_file in (str(other), ""):
        with pytest.raises(DestinationError, match="check the endpoint, its CA"):
            list(settings.destination({**environ, names.ENV_BACKUP_S3_CA_FILE: ca_file}).find("test.credits/"))
