"""`verify-proof` says of which entry a proof is, and takes no true proof of another one. No service, no database."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner, Result

from shieldx_runtime.cli import app
from shieldx_runtime.core.checkpoint import Checkpoint, Signer
from shieldx_runtime.core.merkle import leaf_hash

ORIGIN = "shieldx.io/credits/6f1c0d1e-0000-4000-8000-000000000000"
REFUND = "0190a1b2-3c4d-7e5f-8a9b-000000000001"
CONSUME = "0190a1b2-3c4d-7e5f-8a9b-000000000002"
ENTRY = f"2|org-1|3|refund|5|100|{REFUND}||bootstrap|{CONSUME}|2030-01-31T12:00:00.000000Z|||"


def checked(folder: Path, change: dict[str, Any], *options: str) -> Result:
    """The command's end on the proof of a log that has the one entry."""
    signer = Signer(Ed25519PrivateKey.generate())
    head = Checkpoint(ORIGIN, 1, leaf_hash(ENTRY.encode()), datetime(2030, 1, 31, 12, tzinfo=UTC), bytes(32))
    answer = {"transaction_id": REFUND, "entry": ENTRY, "leaf_index": 0, "path": [], "checkpoint": signer.sign(head)}
    key, proof = folder / "key.pem", folder / "proof.json"
    key.write_text(signer.public_pem(), encoding="utf-8")
    proof.write_text(json.dumps({**answer, **change}), encoding="utf-8")
    return CliRunner().invoke(app, ["verify-proof", str(proof), "--public-key", str(key), *options])


@pytest.mark.parametrize("options", [(), ("--transaction", REFUND), ("--transaction", REFUND.upper())])
def test_a_proof_says_of_which_entry_it_is(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = checked(tmp_path, {}, *options)
    assert done.exit_code == 0, done.output
    assert f"tenant 'org-1' version 3 (refund, transaction {REFUND}): in the log as leaf 0 of 1" in done.output


def test_a_true_proof_of_another_entry_is_none_of_the_transaction(tmp_path: Path) -> None:
    """Of one that refers to it neither."""
    for done in (checked(tmp_path, {"transaction_id": CONSUME}), checked(tmp_path, {}, "--transaction", CONSUME)):
        assert done.exit_code == 1
        assert f"is not that of transaction {CONSUME}" in done.output


@pytest.mark.parametrize("text", ["[" * 100_000, '{"checkpoint":' + "[" * 100_000])
def test_a_file_that_is_nested_without_end_is_no_proof(tmp_path: Path, text: str) -> None:
    checked(tmp_path, {})
    proof = tmp_path / "proof.json"
    proof.write_text(text, encoding="utf-8")
    for arguments in ([str(proof)], [str(proof), "--checkpoint", str(proof)]):
        done = CliRunner().invoke(app, ["verify-proof", *arguments, "--public-key", str(tmp_path / "key.pem")])
        assert done.exit_code == 2
        assert "it is no answer of a proof call" in done.output
