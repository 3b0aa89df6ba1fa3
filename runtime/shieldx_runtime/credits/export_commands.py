"""Commands of auditors: write an export, check one, check a proof. Exit 1: it does not verify; 2: a wrong setting."""

import asyncio
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, Any, Final, NoReturn

import asyncpg
import typer

from shieldx_contract import ENV_AUDIT_SIGNING_KEY_FILE
from shieldx_runtime.core.checkpoint import Checkpoint, CheckpointError, KeyFileError, Verifier
from shieldx_runtime.core.database import read_uri, target_of
from shieldx_runtime.core.faults import InvalidUriError, describe, parse_target
from shieldx_runtime.core.merkle import ProofError, leaf_hash, verify_consistency, verify_inclusion
from shieldx_runtime.core.settings import SettingsError, load_database
from shieldx_runtime.credits.export import export_ledger
from shieldx_runtime.credits.export_format import describe as describe_entry
from shieldx_runtime.credits.export_format import is_of
from shieldx_runtime.credits.export_verify import BadExportError, Report, verify
from shieldx_runtime.credits.sealing_settings import SigningKeyFile

_EXIT_FAILED: Final = 1
_EXIT_SETTINGS: Final = 2
_MAX_FILE_BYTES: Final = 1024 * 1024
_STANDARD: Final = "-"

_PublicKey = Annotated[Path, typer.Option("--public-key", help="The log's public key, or several, in PEM.")]
_Json = Annotated[bool, typer.Option("--json", help="Say it as JSON.")]


def verify_ledger(
    export: Annotated[str, typer.Argument(help="The export; - reads standard input.")],
    *,
    public_key: _PublicKey,
    kept: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", help="A checkpoint that you have kept: the export must contain it."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Check an export of the ledger with nothing but the public key. Names the first entry that is wrong."""
    verifier = _verifier(public_key)
    expected = [_kept(path, verifier) for path in kept or []]
    try:
        with ExitStack() as stack:
            report = verify(_opened(export, stack), verifier, expected)
    except BadExportError as error:
        if as_json:
            _say({"verified": False, "line": error.line, "entry": error.index, "problem": error.problem})
        _end(f"{export}: {error}", _EXIT_FAILED)
    except OSError as error:
        _end(f"{export}: cannot be read: {error.strerror}", _EXIT_SETTINGS)
    _tell(report, as_json=as_json)


def verify_proof(
    proof: Annotated[Path, typer.Argument(help="The answer of /credits/proof/... or /credits/consistency.")],
    *,
    public_key: _PublicKey,
    kept: Annotated[
        Path | None, typer.Option("--checkpoint", help="For a consistency proof: the checkpoint that you have kept.")
    ] = None,
    transaction: Annotated[
        str | None, typer.Option(help="The transaction that you asked about: the proof must be of that one.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Check a proof that the service gave, with nothing but the public key."""
    verifier = _verifier(public_key)
    try:
        answer = json.loads(_read(proof))
        head = verifier.open(answer["checkpoint"])
        path = [bytes.fromhex(step) for step in answer["path"]]
        if "from_size" in answer:
            if kept is None:
                _end("--checkpoint: not given: a consistency proof is about a checkpoint that you have kept", 2)
            old = _kept(kept, verifier)
            verify_consistency(old.size, old.root, head.size, head.root, path)
            found: dict[str, Any] = {"verified": True, "from_size": old.size, "tree_size": head.size}
        else:
            leaf = leaf_hash(answer["entry"].encode())
            verify_inclusion(leaf, answer["leaf_index"], head.size, path, head.root)
            _require_of(answer["entry"], answer.get("transaction_id"), transaction)
            found = {"verified": True, "entry": answer["entry"], "leaf_index": answer["leaf_index"]}
            found |= {"tree_size": head.size, "signed_at": head.signed_at.isoformat()}
    except (ProofError, CheckpointError) as error:
        _end(f"{proof}: {error}", _EXIT_FAILED)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        _end(f"{proof}: it is no answer of a proof call ({error!r})", _EXIT_SETTINGS)
    if as_json:
        _say(found)
    elif "entry" in found:
        place = f"in the log as leaf {found['leaf_index']} of {head.size}, signed {head.signed_at}"
        sys.stdout.write(": ".join(filter(None, (describe_entry(answer["entry"]), place))) + "\n")
    else:
        sys.stdout.write(f"the log of {found['from_size']} entries is the beginning of that of {head.size}\n")


def write_export(
    output: Annotated[str, typer.Option("--output", "-o", help="The file to write; - is standard output.")] = _STANDARD,
) -> None:
    """Write the whole ledger as an export. Only reads the database, in one snapshot and in constant memory."""
    try:
        uri_file = load_database(os.environ).uri_file
        parse_target(read_uri(uri_file))
    except (SettingsError, InvalidUriError) as error:
        _end(str(error), _EXIT_SETTINGS)
    try:
        with ExitStack() as stack:
            # ledgers have personal data in them
            out = sys.stdout.buffer if output == _STANDARD else stack.enter_context(_private(Path(output)))
            summary = asyncio.run(export_ledger(uri_file, out))
    except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError) as error:
        _end(describe(error, target_of(uri_file)), _EXIT_FAILED)
    except OSError as error:
        _end(f"{output}: {error.strerror or error}", _EXIT_FAILED)
    sys.stderr.write(f"{summary.entries} entries, {summary.checkpoints} checkpoints\n")


def public_key() -> None:
    """Write the public key that belongs to the audit signing key: what auditors are given."""
    name = os.environ.get(ENV_AUDIT_SIGNING_KEY_FILE, "")
    if not name:
        _end(f"{ENV_AUDIT_SIGNING_KEY_FILE}: not set: name the file that holds the key", _EXIT_SETTINGS)
    try:
        sys.stdout.write(SigningKeyFile(Path(name)).signer().public_pem())
    except SettingsError as error:
        _end(str(error), _EXIT_SETTINGS)


def add_to(app: typer.Typer, *, hidden: bool = False) -> None:
    for name, command in (
        ("verify-ledger", verify_ledger),
        ("verify-proof", verify_proof),
        ("export-ledger", write_export),
        ("public-key", public_key),
    ):
        app.command(name=name, hidden=hidden)(command)


def _verifier(path: Path) -> Verifier:
    try:
        return Verifier.from_pem(_read(path))
    except KeyFileError as error:
        _end(f"--public-key: {path}: {error}", _EXIT_SETTINGS)


def _require_of(entry: str, *transactions: str | None) -> None:
    """Raises: ProofError, the entry is that of another transaction."""
    for wanted in filter(None, transactions):
        if not is_of(entry, wanted.lower()):
            raise ProofError(f"the entry is in the log, but is not that of transaction {wanted}")


def _kept(path: Path, verifier: Verifier) -> Checkpoint:
    """A checkpoint out of a file: the note itself, or the answer of /credits/checkpoint."""
    try:
        text = _read(path).decode()
        note = json.loads(text)["checkpoint"] if text.startswith("{") else text
        return verifier.open(note)
    except CheckpointError as error:
        _end(f"--checkpoint: {path}: {error}", _EXIT_SETTINGS)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        _end(f"--checkpoint: {path}: it is no checkpoint ({error!r})", _EXIT_SETTINGS)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_FILE_BYTES)
    except OSError as error:
        _end(f"{path}: cannot be read: {error.strerror}", _EXIT_SETTINGS)


def _opened(name: str, stack: ExitStack) -> IO[bytes]:
    return sys.stdin.buffer if name == _STANDARD else stack.enter_context(Path(name).open("rb"))


def _private(path: Path) -> IO[bytes]:
    path.touch(mode=0o600)
    return path.open("wb")


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        signed_at = report.signed_at.isoformat() if report.signed_at else None
        found = {
            name: getattr(report, name) for name in ("origin", "entries", "sealed", "chains", "checkpoints", "root")
        }
        _say({"verified": True, **found, "signed_at": signed_at})
        return
    sys.stdout.write(
        f"{report.origin}: {report.entries} entries in {report.chains} chains verify; {report.sealed} of them are "
        f"under {report.checkpoints} signed checkpoints, the last of {report.signed_at or 'never'}\n"
    )


def _say(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")


def _end(message: str, code: int) -> NoReturn:
    sys.stderr.write(message + "\n")
    raise typer.Exit(code)
