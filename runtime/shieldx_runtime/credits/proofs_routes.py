"""Checkpoints and proofs: HTTP to the audit log and back."""

import uuid
from typing import Annotated, Any, Final

from fastapi import FastAPI, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from shieldx_runtime.core.merkle import MAX_SIZE, leaf_hash
from shieldx_runtime.core.openapi import refusals
from shieldx_runtime.credits.http import Reader, answer
from shieldx_runtime.credits.proofs import (
    ENTRY_ALTERED,
    NO_CHECKPOINT,
    NOT_SEALED,
    UNKNOWN_ENTRY,
    Proofs,
    SignedHead,
)

_HASH: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_NOTE_WORDS: Final = (
    "A signed note (C2SP tlog-checkpoint): check it with the log's public key, then trust what it says."
)
_NOTE: Final = (
    "shieldx.io/credits/7d3f8a52-3c1e-4b5a-9f0e-2a6b1c8d4e90\n1234\n"
    "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\ntime 2030-01-31T12:00:00.000000Z\nchains " + _HASH + "\n\n"
    "— shieldx.io/credits/7d3f8a52-3c1e-4b5a-9f0e-2a6b1c8d4e90 " + "A" * 91 + "=\n"
)
_HEAD: dict[str, Any] = {"tree_size": 1234, "root_hash": _HASH, "checkpoint": _NOTE}


class CheckpointAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_HEAD]})

    tree_size: int = Field(description="Entries under the checkpoint.")
    root_hash: str = Field(description="Root of the Merkle tree (RFC 6962, SHA-256) over them, in hexadecimal.")
    checkpoint: str = Field(description=_NOTE_WORDS)


class ProofAnswer(CheckpointAnswer):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_HEAD,
                    "transaction_id": "0190a1b2-3c4d-7e5f-8a9b-0c1d2e3f4a5b",
                    "entry": "2|org-123|7|consume|100|9900|0190a1b2-3c4d-7e5f-8a9b-0c1d2e3f4a5b|...",
                    "leaf_hash": _HASH,
                    "leaf_index": 42,
                    "path": [_HASH],
                }
            ]
        }
    )

    transaction_id: uuid.UUID
    entry: str = Field(description="The entry as it is hashed. Its texts are sealed under the tenant's key.")
    leaf_hash: str = Field(description="SHA-256 of a zero byte and the entry in UTF-8.")
    leaf_index: int = Field(description="The entry's place in the tree, from 0.")
    path: list[str] = Field(description="Inclusion proof (RFC 6962, section 2.1.1), from the leaf upwards.")


class ConsistencyAnswer(CheckpointAnswer):
    model_config = ConfigDict(json_schema_extra={"examples": [{**_HEAD, "from_size": 1000, "path": [_HASH]}]})

    from_size: int
    path: list[str] = Field(description="Consistency proof (RFC 6962, section 2.1.2) from `from_size` to `tree_size`.")


async def checkpoint(request: Request, _: Reader) -> Response:
    """The newest signed head of the audit log. Keep it: later ones must be consistent with it."""
    return answer(CheckpointAnswer(**_head(await _proofs(request).checkpoint())))


async def proof(
    request: Request,
    transaction_id: Annotated[uuid.UUID, Path(description="What a movement answered.")],
    principal: Reader,
) -> Response:
    """Proves that a transaction's entry is in the log under the newest checkpoint."""
    found = await _proofs(request).inclusion(principal, transaction_id)
    proved = ProofAnswer(
        **_head(found.signed),
        transaction_id=transaction_id,
        entry=found.entry,
        leaf_hash=leaf_hash(found.entry.encode()).hex(),
        leaf_index=found.leaf_index,
        path=[step.hex() for step in found.path],
    )
    return answer(proved)


async def consistency(
    request: Request,
    _: Reader,
    from_size: Annotated[
        int, Query(alias="from", ge=1, le=MAX_SIZE, description="`tree_size` of a checkpoint that was kept.")
    ],
) -> Response:
    """Proves that the log under an older checkpoint is the beginning of the log under the newest."""
    found = await _proofs(request).consistency(from_size)
    proved = ConsistencyAnswer(
        **_head(found.signed), from_size=found.from_size, path=[step.hex() for step in found.path]
    )
    return answer(proved)


def _head(signed: SignedHead) -> dict[str, Any]:
    return {"tree_size": signed.head.size, "root_hash": signed.head.root.hex(), "checkpoint": signed.note}


def _proofs(request: Request) -> Proofs:
    proofs: Proofs = request.app.state.proofs
    return proofs


def add_to(app: FastAPI) -> None:
    tag: dict[str, Any] = {"tags": ["audit"]}
    app.get("/credits/checkpoint", response_model=CheckpointAnswer, responses=refusals(NO_CHECKPOINT), **tag)(
        checkpoint
    )
    app.get(
        "/credits/proof/{transaction_id}",
        response_model=ProofAnswer,
        responses=refusals(UNKNOWN_ENTRY, NO_CHECKPOINT, NOT_SEALED, ENTRY_ALTERED),
        **tag,
    )(proof)
    app.get("/credits/consistency", response_model=ConsistencyAnswer, responses=refusals(NO_CHECKPOINT), **tag)(
        consistency
    )
