"""TLS contexts that read their authorities late verify exactly as others do."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import create_connection, socket

import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deployments import late_tls

CONNECT = """
import socket, ssl, sys
from deployments.late_tls import read_authorities_late
read_authorities_late()
context = ssl.create_default_context(cafile=sys.argv[2])
assert not ssl.SSLContext.get_ca_certs(context), "read too early"
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
    with context.wrap_socket(plain, server_hostname=sys.argv[3]) as tls:
        print(tls.version())
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    unencrypted = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, unencrypted))
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "cert.pem"


@pytest.fixture(scope="module")
def port(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    listener = socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    address = listener.getsockname()
    listener.shutdown(2)
    listener.close()
    thread.join(5)
    assert address


def connect(port: int, bundle: str, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", CONNECT, str(port), bundle, name],
        capture_output=True, text=True, check=False, timeout=30, cwd=Path(late_tls.__file__).parent.parent,
    )  # fmt: skip


def test_a_trusted_server_is_trusted(port: int, certificate: Path) -> None:
    """With the authority in the bundle the connection stands."""
    done = connect(port, str(certificate), "localhost")
    assert done.stdout.startswith("TLSv1"), done.stderr


def test_an_unknown_authority_is_refused(port: int) -> None:
    """With the usual bundle a self-signed server is refused."""
    done = connect(port, certifi.where(), "localhost")
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr


def test_another_name_is_refused(port: int, certificate: Path) -> None:
    """The name is checked."""
    done = connect(port, str(certificate), "example.org")
    assert "CERTIFICATE_VERIFY_FAILED" in done.stderr


def test_a_missing_bundle_is_told_at_once(port: int) -> None:
    """As from Python's own function."""
    assert "FileNotFoundError" in connect(port, "/nowhere.pem", "localhost").stderr


def test_the_server_of_these_tests_answers(port: int) -> None:
    """So that a refusal above is not merely a silence."""
    with create_connection(("127.0.0.1", port), timeout=5):
        pass
