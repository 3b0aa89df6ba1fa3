"""Signed tree heads: one text each, and no other is taken for it."""

import base64
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldx_runtime.core.checkpoint import (
    MAX_NOTE_BYTES,
    Checkpoint,
    CheckpointError,
    KeyFileError,
    Signer,
    Verifier,
    key_id,
    parse,
)

ORIGIN = "shieldx.io/credits/6f1c0d1e-0000-4000-8000-000000000000"
HEAD = Checkpoint(ORIGIN, 1234, bytes(range(32)), datetime(2030, 1, 31, 12, 0, 0, 5, UTC), bytes(32))


def pem(key: object) -> bytes:
    return key.private_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def made() -> tuple[Signer, Verifier]:
    signer = Signer(Ed25519PrivateKey.generate())
    return signer, Verifier.from_pem(signer.public_pem().encode())


SIGNER, VERIFIER = made()


def test_the_text_is_the_documented_one() -> None:
    assert HEAD.text() == (
        f"{ORIGIN}\n1234\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
        f"time 2030-01-31T12:00:00.000005Z\nchains {'0' * 64}\n"
    )


def test_the_public_key_alone_opens_what_the_private_key_signed() -> None:
    note = SIGNER.sign(HEAD)
    assert VERIFIER.open(note) == HEAD
    assert note.startswith(HEAD.text() + f"\n— {ORIGIN} ")


def test_the_key_id_is_that_of_the_signed_note_standard() -> None:
    """The key PeterNeumann+c74f20a3+... of the example of golang.org/x/mod/sumdb/note."""
    public = base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:]
    assert key_id("PeterNeumann", public).hex() == "c74f20a3"


@settings(max_examples=100, deadline=None)
@given(
    size=st.integers(0, 2**63 - 1),
    root=st.binary(min_size=32, max_size=32),
    signed_at=st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31)),  # noqa: DTZ001 - strategies take no zone here
)
def test_every_checkpoint_comes_back(size: int, root: bytes, signed_at: datetime) -> None:
    head = Checkpoint(ORIGIN, size, root, signed_at.replace(tzinfo=UTC), root[::-1])
    assert VERIFIER.open(SIGNER.sign(head)) == head


def test_a_time_of_another_zone_is_signed_as_utc() -> None:
    there = HEAD.signed_at.astimezone(timezone(timedelta(hours=5)))
    assert Checkpoint(ORIGIN, 1234, HEAD.root, there, HEAD.chains).text() == HEAD.text()


def test_any_changed_byte_is_refused() -> None:
    note = SIGNER.sign(HEAD).encode()
    dice = random.Random(5)  # noqa: S311 - repeatable on purpose
    for place in range(len(note)):
        wrong = bytearray(note)
        wrong[place] ^= 1 << dice.randrange(8)
        try:
            text = wrong.decode()
        except UnicodeDecodeError:
            continue
        with pytest.raises(CheckpointError):
            VERIFIER.open(text)


def test_any_missing_or_doubled_line_is_refused() -> None:
    lines = SIGNER.sign(HEAD).splitlines(keepends=True)
    for n in range(len(lines)):
        for wrong in (lines[:n] + lines[n + 1 :], lines[: n + 1] + lines[n:]):
            with pytest.raises(CheckpointError):
                VERIFIER.open("".join(wrong))


def test_another_logs_signature_is_refused() -> None:
    other, _ = made()
    with pytest.raises(CheckpointError, match="none of the public keys given"):
        VERIFIER.open(other.sign(HEAD))


def test_after_a_change_of_the_key_both_open() -> None:
    other, _ = made()
    both = Verifier.from_pem((SIGNER.public_pem() + "\nthe next one:\n" + other.public_pem()).encode())
    assert both.open(SIGNER.sign(HEAD)) == both.open(other.sign(HEAD)) == HEAD


def test_a_signature_under_another_name_is_refused() -> None:
    note = SIGNER.sign(HEAD)
    with pytest.raises(CheckpointError, match="is not the origin"):
        VERIFIER.open(note.replace(f"— {ORIGIN}", "— example.org/log"))


def test_a_note_has_a_bound() -> None:
    with pytest.raises(CheckpointError, match=f"at most {MAX_NOTE_BYTES} bytes"):
        VERIFIER.open("x" * (MAX_NOTE_BYTES + 1))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("\n1234\n", "\n01234\n"), "line 2"),
        (("\n1234\n", "\n-1\n"), "line 2"),
        (("\n1234\n", f"\n{2**63}\n"), "line 2"),
        (("Hh8=", "Hh9="), "root hash"),
        (("Hh8=", "Hh8"), "root hash"),
        (("time 2030", "time 30"), "line 4"),
        (("time 2030-01-31", "time 2030-02-31"), "line 4"),
        ((".000005Z", ".5Z"), "line 4"),
        (("chains 0", "chains g"), "line 5"),
        (("shieldx.io", "Shieldx.io"), "line 1"),
    ],
)
def test_a_text_that_is_not_canonical_is_refused_by_line(change: tuple[str, str], problem: str) -> None:
    with pytest.raises(CheckpointError, match=problem):
        parse(HEAD.text().replace(*change))


def test_what_cannot_be_read_again_is_not_signed() -> None:
    with pytest.raises(CheckpointError):
        SIGNER.sign(Checkpoint("two\nlines", 1, HEAD.root, HEAD.signed_at, HEAD.chains))


def test_keys_that_are_of_no_use_are_named_and_not_repeated() -> None:
    curve = pem(generate_private_key(SECP256R1()))
    for content, problem in (
        (b"secret words", "no private key"),
        (curve, "no Ed25519 key"),
        (b"YWJj", "no private key"),
    ):
        with pytest.raises(KeyFileError, match=problem) as caught:
            Signer.from_text(content.decode())
        assert "openssl genpkey -algorithm ed25519" in str(caught.value)
        assert "secret" not in str(caught.value)
    for content, problem in (
        (b"", "no public key"),
        (SIGNER.public_pem().encode().replace(b"M", b"!"), "cannot be read"),
    ):
        with pytest.raises(KeyFileError, match=problem):
            Verifier.from_pem(content)


def test_a_key_in_a_file_signs() -> None:
    private = Ed25519PrivateKey.generate()
    signer = Signer.from_text(pem(private).decode())
    assert Verifier([private.public_key()]).open(signer.sign(HEAD)) == HEAD


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_key_may_be_32_bytes_in_base64(encode: Callable[[bytes], bytes]) -> None:
    private = Ed25519PrivateKey.from_private_bytes(b"\xfb\xff" * 16)
    for text in (encode(b"\xfb\xff" * 16), encode(b"\xfb\xff" * 16).rstrip(b"=") + b"\n"):
        assert Verifier([private.public_key()]).open(Signer.from_text(text.decode()).sign(HEAD)) == HEAD
