"""All chains end up in one tree, whoever seals, whatever comes in between; and what was forged is never signed."""

import asyncio
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shieldx_runtime.core.checkpoint import Verifier
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.merkle import leaf_hash, verify_consistency, verify_inclusion
from shieldx_runtime.core.problems import ProblemError
from shieldx_runtime.credits import sealing
from shieldx_runtime.credits.proofs import NO_CHECKPOINT, NOT_SEALED, Proofs
from shieldx_runtime.credits.sealing import Sealer
from tests.integration.audit.ledger import ANYBODY, Ledger


def proofs_of(ledger: Ledger) -> Proofs:
    return Proofs(ledger.database, seal_interval_s=10)


async def size_of(ledger: Ledger) -> int:
    return int((await ledger.sql("SELECT size FROM credits.tree"))[0]["size"])


async def entries_of(ledger: Ledger) -> int:
    rows = await ledger.sql(
        "SELECT (SELECT count(*) FROM credits.ledger) + (SELECT count(*) FROM credits.events) AS entries"
    )
    return int(rows[0]["entries"])


async def test_every_entry_is_sealed_once_and_a_new_sealer_goes_on_where_the_last_one_stopped(ledger: Ledger) -> None:
    await ledger.grown()
    await ledger.seal()
    assert await size_of(ledger) == await entries_of(ledger)
    report = await ledger.verify()
    assert report.entries == report.sealed == await entries_of(ledger)
    assert report.chains >= 2
    checkpoints = report.checkpoints
    await ledger.seal()
    assert (await ledger.verify()).checkpoints == checkpoints


async def test_every_transaction_is_proved_by_the_public_key_alone(ledger: Ledger) -> None:
    await ledger.grown()
    await ledger.seal()
    proofs = proofs_of(ledger)
    for transaction_id in ledger.transactions:
        proof = await proofs.inclusion(ANYBODY, transaction_id)
        head = ledger.verifier.open(proof.signed.note)
        verify_inclusion(leaf_hash(proof.entry.encode()), proof.leaf_index, head.size, proof.path, head.root)
        assert str(transaction_id) in proof.entry


async def test_every_checkpoint_is_consistent_with_the_newest(ledger: Ledger) -> None:
    await ledger.grown()
    await ledger.seal()
    notes = await ledger.sql("SELECT note FROM credits.checkpoints ORDER BY size")
    assert len(notes) == 4
    for row in notes:
        old = ledger.verifier.open(row["note"])
        proof = await proofs_of(ledger).consistency(old.size)
        new = ledger.verifier.open(proof.signed.note)
        verify_consistency(old.size, old.root, new.size, new.root, proof.path)


async def test_rounds_are_bounded_and_follow_each_other_until_nothing_is_left(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "MAX_LEAVES", 10)
    monkeypatch.setattr(sealing, "_MAX_LINKS_OF_A_CHAIN", 2)
    tenants = [await ledger.tenant() for _ in range(3)]
    await ledger.consume_at_once(tenants, writers=3, batches=8, seed=4)
    await ledger.seal()
    rows = await ledger.sql("SELECT size - lag(size, 1, 0::bigint) OVER (ORDER BY size) AS n FROM credits.checkpoints")
    assert len(rows) > 4
    assert all(row["n"] <= 10 for row in rows)
    assert (await ledger.verify()).sealed == await entries_of(ledger)


async def test_many_sealers_at_once_while_writers_write_make_one_tree(ledger: Ledger) -> None:
    tenants = [await ledger.tenant() for _ in range(3)]
    ledger.publics.append(ledger.key.signer())
    stop = asyncio.Event()

    async def seal(sealer: Sealer) -> None:
        while not stop.is_set():
            await sealer.seal_round()

    sealers = [asyncio.create_task(seal(ledger.sealer())) for _ in range(4)]
    await ledger.consume_at_once(tenants, writers=3, batches=25, seed=2)
    stop.set()
    await asyncio.gather(*sealers)
    await ledger.seal()
    report = await ledger.verify()
    assert report.sealed == await entries_of(ledger)
    assert report.checkpoints > 1


async def test_a_sealer_leaves_it_to_another_while_the_last_checkpoint_is_young(ledger: Ledger) -> None:
    await ledger.tenant()
    await ledger.seal()
    await ledger.tenant()
    await ledger.sealer(interval_s=60).seal_if_due()
    assert await size_of(ledger) == 1
    await ledger.sql("UPDATE credits.tree SET sealed_at = sealed_at - interval '1 minute'")
    await ledger.sealer(interval_s=60).seal_if_due()
    assert await size_of(ledger) == 2


async def test_a_sealer_that_loses_its_database_seals_on_when_it_is_back(ledger: Ledger) -> None:
    tenants = [await ledger.tenant() for _ in range(2)]
    dice = random.Random(3)  # noqa: S311 - repeatable on purpose
    lost = 0
    for _ in range(12):
        await ledger.consume(tenants)
        task = asyncio.create_task(ledger.sealer().seal_round())
        await asyncio.sleep(dice.random() * 0.01)
        await ledger.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        try:
            await task
        except DatabaseUnavailableError:
            lost += 1
    await ledger.seal()
    assert (await ledger.verify()).sealed == await entries_of(ledger)
    assert lost > 0


async def test_a_forged_link_is_never_signed_and_holds_up_its_own_chain_alone(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    tenants = [await ledger.tenant() for _ in range(2)]
    await ledger.seal()
    await ledger.consume_at_once(tenants, writers=3, batches=4, seed=1)
    await ledger.event(None, "[]")
    bad = (await ledger.sql("SELECT chain_id, max(seq) AS seq FROM credits.chain_links GROUP BY 1 ORDER BY 1 LIMIT 1"))[
        0
    ]
    await ledger.sql(
        "UPDATE credits.chain_links SET leaves = sha256('forged') WHERE chain_id = $1 AND seq = $2", *bad.values()
    )
    await ledger.seal()
    sealed = await ledger.sql("SELECT chain_id, seq FROM credits.tree_chains ORDER BY chain_id")
    ends = await ledger.sql("SELECT chain_id, seq FROM credits.chain_heads WHERE seq > 0")
    at = {row["chain_id"]: row["seq"] for row in sealed}
    assert at[0] == 1
    assert at[bad["chain_id"]] == bad["seq"] - 1
    assert all(at[row["chain_id"]] == row["seq"] for row in ends if row["chain_id"] != bad["chain_id"])
    said = "".join(capsys.readouterr())
    assert f"audit chain {bad['chain_id']}: the hash of link {bad['seq']} does not follow" in said


async def test_a_rotated_signing_key_signs_on_and_both_public_keys_verify(ledger: Ledger) -> None:
    await ledger.tenant()
    await ledger.seal()
    first = ledger.verifier
    ledger.key.private = Ed25519PrivateKey.generate()
    await ledger.tenant()
    await ledger.seal()
    assert (await ledger.verify()).checkpoints == 2
    second = Verifier.from_pem(ledger.key.signer().public_pem().encode())
    ledger.publics = [ledger.publics[0]]
    assert "none of the public keys given" in (await ledger.fault()).problem
    newest = (await proofs_of(ledger).checkpoint()).note
    assert second.open(newest).size == 2
    with pytest.raises(Exception, match="none of the public keys given"):
        first.open(newest)


async def test_what_is_not_sealed_yet_has_no_proof_yet(ledger: Ledger) -> None:
    await ledger.tenant()
    with pytest.raises(ProblemError) as caught:
        await proofs_of(ledger).checkpoint()
    assert caught.value.kind is NO_CHECKPOINT
    with pytest.raises(ProblemError) as caught:
        await proofs_of(ledger).inclusion(ANYBODY, ledger.transactions[0])
    assert caught.value.kind is NOT_SEALED
    assert caught.value.headers == {"Retry-After": "10"}


async def test_a_damaged_tree_is_not_built_upon(ledger: Ledger) -> None:
    await ledger.tenant()
    await ledger.seal()
    await ledger.tenant()
    await ledger.sql("DELETE FROM credits.tree_tiles")
    with pytest.raises(RuntimeError, match="the stored audit tree is damaged"):
        await ledger.seal()
