"""Files signed with C2PA manifests by a certificate chain made on the spot."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SIGNER, ISSUER = "Camera 7", "Example News"
MANIFEST: dict[str, Any] = {
    "claim_generator_info": [{"name": "example-editor", "version": "1.2"}],
    "assertions": [
        {
            "label": "c2pa.actions",
            "data": {
                "actions": [
                    {
                        "action": "c2pa.created",
                        "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
                    },
                    {"action": "c2pa.edited"},
                ]
            },
        }
    ],
}


def sign(source: Path, target: Path, manifest: dict[str, Any] = MANIFEST, remote: str | None = None) -> Path:
    """Write `source` with a signed manifest to `target`. remote: a URL to name in place of embedding the manifest."""
    builder = c2pa.Builder(json.dumps(manifest))
    if remote is not None:
        builder.set_remote_url(remote)
        builder.set_no_embed()
    with source.open("rb") as clip, target.open("w+b") as signed, _signer() as signer:
        builder.sign(signer, "video/mp4", clip, signed)
    return target


def with_ingredient(source: Path, target: Path, ingredient: Path) -> Path:
    """As `sign`, with another file as what it was made of."""
    builder = c2pa.Builder(json.dumps(MANIFEST))
    with ingredient.open("rb") as part:
        builder.add_ingredient(json.dumps({"title": "part", "relationship": "componentOf"}), "video/mp4", part)
    with source.open("rb") as clip, target.open("w+b") as signed, _signer() as signer:
        builder.sign(signer, "video/mp4", clip, signed)
    return target


def _signer() -> Any:
    chain, key = _credentials()
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain, key, None))


@lru_cache(maxsize=1)
def _credentials() -> tuple[bytes, bytes]:
    """A leaf and its root as PEM, and the leaf's key."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _certificate("Test root", root_key, "Test root", root_key, authority=True)
    leaf = _certificate(SIGNER, key, "Test root", root_key, authority=False)
    chain = b"".join(item.public_bytes(serialization.Encoding.PEM) for item in (leaf, root))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return chain, key.private_bytes(*form)


def _certificate(subject: str, key: Any, issuer: str, issuer_key: Any, *, authority: bool) -> x509.Certificate:
    unused = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    usage = x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, decipher_only=False, **unused
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2025, 1, 1, tzinfo=timezone.utc))
        .not_valid_after(datetime(2125, 1, 1, tzinfo=timezone.utc))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(usage, critical=True)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, ISSUER), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )
