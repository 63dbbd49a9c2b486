"""Certificates are verified, against the name in the URL and not against the address that it was pinned to."""

import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.params.ingest import Ingest
from pipeline.web_ingest import crawl
from pipeline.web_ingest.journal import Journal
from tests.support.crawls import LIMITS, loopback
from tests.support.web_server import lookup, web_server


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Certificate and key of good.test alone, signed by itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "good.test")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("good.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = tmp_path / "good.pem"
    path.write_bytes(key.private_bytes(*form) + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_must_be_trusted_and_of_this_name(tmp_path, monkeypatch, certificate, trusted):
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    journal = Journal(tmp_path / "journal.db")
    with web_server(context) as server:
        urls = [server.url("ok/1"), server.url("ok/1", "other.test")]
        limits = Ingest.model_validate(LIMITS)
        crawl.fetch_all(urls, journal, limits, "me@example.org", done=lambda: None, rule=loopback, lookup=lookup)
    reasons = [journal.outcome(url).reason.partition(":")[0] for url in urls]
    journal.close()
    assert reasons == (["", "tls"] if trusted else ["tls", "tls"])
