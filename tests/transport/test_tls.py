"""TLS: verified always, against the authority that the configuration names."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.served import Served

from envcheck.contract.document import encode
from envcheck.contract.wire import ObjectAnswer
from envcheck.errors import Unreachable
from envcheck.transport.link import Link, bearer

GOOD = encode(ObjectAnswer(stored="a" * 64))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody but its holder vouches for; the key beside it."""
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test collector")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return directory / "cert.pem"


@pytest.fixture
def secured(certificate: Path) -> Iterator[Served]:
    served = Served()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    served.server.socket = context.wrap_socket(served.server.socket, server_side=True)
    served.server.handle_error = lambda *_: None  # type: ignore[method-assign]
    served.url = served.url.replace("http://", "https://")
    served.says(body=GOOD)
    yield served
    served.close()


def ask(url: str, ca_bundle: str = "") -> ObjectAnswer:
    return Link(url, ca_bundle=ca_bundle).ask("GET", "/v1/x", ObjectAnswer)


def test_a_named_authority_is_trusted(secured: Served, certificate: Path) -> None:
    assert ask(secured.url, str(certificate)).stored == "a" * 64


def test_one_that_nobody_vouches_for_is_not(secured: Served) -> None:
    with pytest.raises(Unreachable, match="certificate is not trusted") as caught:
        ask(secured.url)
    assert "ca_bundle" in caught.value.hint
    assert secured.asked == []


def test_another_name_than_the_certificates_is_not(secured: Served, certificate: Path) -> None:
    with pytest.raises(Unreachable, match="certificate"):
        ask(secured.url.replace("127.0.0.1", "localhost"), str(certificate))


def test_the_environment_may_name_it_but_not_overrule_the_configuration(
    secured: Served, certificate: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert ask(secured.url).stored == "a" * 64
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nothing.pem"))
    assert ask(secured.url, str(certificate)).stored == "a" * 64


class Proxy:
    """A proxy that joins whoever asks it with CONNECT to where they say, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._join, args=(self._listener.accept()[0],), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with client:
            head = client.recv(65536)
            self.asked.append(head)
            host, _, port = head.split()[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pour, args=(server, client))
                back.start()
                _pour(client, server)
                back.join()


def _pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    made = Proxy()
    monkeypatch.setenv("https_proxy", made.url)
    monkeypatch.delenv("no_proxy", raising=False)
    yield made
    made.close()


def test_through_a_proxy_it_is_verified_as_without(secured: Served, certificate: Path, proxy: Proxy) -> None:
    link = Link(secured.url, bearer("a-secret"), ca_bundle=str(certificate))
    assert link.ask("GET", "/v1/x", ObjectAnswer).stored == "a" * 64
    host = secured.url.removeprefix("https://").encode()
    assert [head.split()[:2] for head in proxy.asked] == [[b"CONNECT", host]]
    assert b"a-secret" not in proxy.asked[0], "the proxy learns nothing but the address"
    with pytest.raises(Unreachable, match="certificate is not trusted"):
        ask(secured.url)
    assert len(secured.asked) == 1


def test_what_is_near_is_asked_without_the_proxy(
    secured: Served, certificate: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert ask(secured.url, str(certificate)).stored == "a" * 64
    assert proxy.asked == []
