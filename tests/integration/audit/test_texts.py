"""Texts under tenants' keys in a real database: rotation, erasure, moved and lost keys; money moves on."""

import base64
import uuid
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from shieldx_runtime.core import vault
from shieldx_runtime.core.vault import MasterKeys, parse_master_keys
from shieldx_runtime.credits.privacy_texts import DESCRIPTION, REFERENCE, Draft, Stored, Texts
from tests.integration.audit.ledger import Ledger


def masters(*ids: str) -> MasterKeys:
    return parse_master_keys("\n".join(f"{i} {base64.b64encode(i.encode().ljust(32)).decode()}" for i in ids))


@dataclass
class File:
    """Stands for the mounted file; its content may be exchanged."""

    keys: MasterKeys | None = field(default_factory=lambda: masters("m1"))

    def current(self) -> MasterKeys | None:
        return self.keys


def texts_of(ledger: Ledger, file: File) -> Texts:
    return Texts(ledger.database, file, CollectorRegistry())


def draft(tenant_id: str, description: str | None = "text", reference: str | None = None) -> Draft:
    return Draft(tenant_id, str(uuid.uuid4()), description, reference)


async def test_what_one_process_seals_another_one_opens(ledger: Ledger) -> None:
    tenants = [await ledger.tenant() for _ in range(3)]
    drafts = [draft(t, f"für {t} \U0001f4b3", f"ref {t}") for t in tenants] + [draft(tenants[0], None, None)]
    sealed = await texts_of(ledger, File()).seal(drafts)
    assert sealed[3] == (None, None)
    for given, (description, reference) in zip(drafts[:3], sealed[:3], strict=True):
        stored = [
            Stored(DESCRIPTION, given.idempotency_key, description),
            Stored(REFERENCE, given.idempotency_key, reference),
        ]
        opened = await texts_of(ledger, File()).open(given.tenant_id, stored)
        assert opened == [given.description, given.reference]
    keys = await ledger.sql("SELECT tenant_id, wrapped FROM credits.tenant_keys")
    assert sorted(row["tenant_id"] for row in keys) == sorted(tenants)


async def test_processes_that_start_at_once_may_have_a_key_each_and_read_all(ledger: Ledger) -> None:
    tenant_id = await ledger.tenant()
    sealed = []
    for _ in range(3):
        given = draft(tenant_id)
        ((description, _),) = await texts_of(ledger, File()).seal([given])
        sealed.append(Stored(DESCRIPTION, given.idempotency_key, description))
        await ledger.sql("UPDATE credits.tenant_keys SET created_at = created_at - interval '91 days'")
    ids = {vault.key_id_of(s.text or "") for s in sealed}
    assert len(ids) == 3
    assert await texts_of(ledger, File()).open(tenant_id, sealed) == ["text"] * 3


async def test_a_key_in_use_is_asked_for_once_a_minute(ledger: Ledger) -> None:
    tenant_id = await ledger.tenant()
    texts = texts_of(ledger, File())
    await texts.seal([draft(tenant_id)])
    await ledger.database.close()
    ((sealed, _),) = await texts.seal([draft(tenant_id)])
    assert vault.key_id_of(sealed or "")


async def test_where_the_key_is_in_use_a_text_is_sealed_without_asking_anybody(ledger: Ledger) -> None:
    tenant_id = await ledger.tenant()
    texts, wish = texts_of(ledger, File()), draft(tenant_id, "für alle", None)
    assert texts.seal_at_once(wish) is None
    assert texts.seal_at_once(draft(tenant_id, None, None)) == (None, None)
    await texts.seal([draft(tenant_id)])
    sealed = texts.seal_at_once(wish)
    assert sealed is not None
    stored = [Stored(DESCRIPTION, wish.idempotency_key, sealed[0])]
    assert await texts_of(ledger, File()).open(tenant_id, stored) == ["für alle"]
    texts.forget(tenant_id)
    assert texts.seal_at_once(wish) is None


async def test_an_unknown_tenant_leaves_no_key(ledger: Ledger) -> None:
    ((sealed, _),) = await texts_of(ledger, File()).seal([draft("nobody")])
    assert vault.key_id_of(sealed or "")
    assert await ledger.sql("SELECT FROM credits.tenant_keys") == []


async def test_erasure_ends_reading_at_once_and_writing_goes_on_under_a_new_key(ledger: Ledger) -> None:
    tenant_id, other = await ledger.tenant(), await ledger.tenant()
    texts, replica = texts_of(ledger, File()), texts_of(ledger, File())
    before, kept = draft(tenant_id, "secret"), draft(other, "kept")
    (sealed, _), (others, _) = await texts.seal([before, kept])
    stored, of_other = (
        Stored(DESCRIPTION, before.idempotency_key, sealed),
        Stored(DESCRIPTION, kept.idempotency_key, others),
    )
    assert await replica.open(tenant_id, [stored]) == ["secret"]
    rows = await ledger.sql("SELECT * FROM credits.erase($1, '[]')", tenant_id)
    assert (rows[0]["o_known"], rows[0]["o_destroyed"]) == (True, 1)
    texts.forget(tenant_id)
    for each in (texts, replica):
        assert await each.open(tenant_id, [stored]) == [None]
        assert await each.open(other, [of_other]) == ["kept"]
    after = draft(tenant_id, "after")
    ((fresh, _),) = await texts.seal([after])
    assert await replica.open(tenant_id, [Stored(DESCRIPTION, after.idempotency_key, fresh)]) == ["after"]
    destroyed = await ledger.sql("SELECT wrapped FROM credits.tenant_keys WHERE destroyed_at IS NOT NULL")
    assert [row["wrapped"] for row in destroyed] == [None]


async def test_after_a_rotation_of_the_master_old_keys_open_and_are_brought_under_the_new_one(ledger: Ledger) -> None:
    tenants = [await ledger.tenant() for _ in range(3)]
    file = File(masters("m1"))
    drafts = [draft(t) for t in tenants]
    sealed = await texts_of(ledger, file).seal(drafts)
    stored = {d.tenant_id: Stored(DESCRIPTION, d.idempotency_key, s[0]) for d, s in zip(drafts, sealed, strict=True)}
    await ledger.sql("SELECT credits.erase($1, '[]')", tenants[2])
    file.keys = masters("m2", "m1")
    texts = texts_of(ledger, file)
    assert await texts.open(tenants[0], [stored[tenants[0]]]) == ["text"]
    assert await texts.rewrap() == 2
    assert await texts.rewrap() == 0
    assert {
        r["master_id"] for r in await ledger.sql("SELECT master_id FROM credits.tenant_keys WHERE wrapped <> ''")
    } == {"m2"}
    file.keys = masters("m2")
    for tenant_id in tenants[:2]:
        assert await texts.open(tenant_id, [stored[tenant_id]]) == ["text"]
    assert await texts.open(tenants[2], [stored[tenants[2]]]) == [None]


async def test_a_lost_master_key_costs_old_texts_and_no_movement(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant_id = await ledger.tenant()
    old = draft(tenant_id)
    ((sealed, _),) = await texts_of(ledger, File(masters("m1"))).seal([old])
    texts = texts_of(ledger, File(masters("m9")))
    new = draft(tenant_id, "new")
    ((fresh, _),) = await texts.seal([new])
    stored = [Stored(DESCRIPTION, old.idempotency_key, sealed), Stored(DESCRIPTION, new.idempotency_key, fresh)]
    assert await texts.open(tenant_id, stored) == [None, "new"]
    said = "".join(capsys.readouterr())
    assert "master key 'm1' wraps data key" in said
    assert "put it back into the Secret" in said


async def test_a_text_that_was_moved_or_changed_does_not_open_and_is_counted(ledger: Ledger) -> None:
    one, two = await ledger.tenant(), await ledger.tenant()
    registry = CollectorRegistry()
    texts = Texts(ledger.database, File(), registry)
    first, second, foreign = draft(one, "first"), draft(one, "second"), draft(two, "foreign")
    (a, _), (b, _), (c, _) = await texts.seal([first, second, foreign])
    moved = [
        Stored(DESCRIPTION, first.idempotency_key, b),
        Stored(REFERENCE, first.idempotency_key, a),
        Stored(DESCRIPTION, first.idempotency_key, c),
        Stored(DESCRIPTION, first.idempotency_key, (a or "")[:-6] + "AAAAAA"),
        Stored(DESCRIPTION, first.idempotency_key, a),
    ]
    assert await texts.open(one, moved) == [None, None, None, None, "first"]
    assert registry.get_sample_value("credits_texts_unreadable_total") == 4


async def test_without_a_master_key_texts_are_stored_as_they_are_and_told_so_later_too(ledger: Ledger) -> None:
    tenant_id = await ledger.tenant()
    file = File(None)
    given = draft(tenant_id, "plain", f"sxe1.{'0' * 16}.{'A' * 40}")
    ((description, reference),) = await texts_of(ledger, file).seal([given])
    assert description == "plain"
    file.keys = masters("m1")
    stored = [
        Stored(DESCRIPTION, given.idempotency_key, description),
        Stored(REFERENCE, given.idempotency_key, reference),
    ]
    assert await texts_of(ledger, file).open(tenant_id, stored) == [given.description, given.reference]
    assert await ledger.sql("SELECT FROM credits.tenant_keys") == []


async def test_a_worn_out_key_is_followed_by_the_next(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id = await ledger.tenant()
    texts = texts_of(ledger, File())
    await texts.seal([draft(tenant_id)])
    monkeypatch.setattr(texts._keys[tenant_id][1], "_left", 1)
    drafts = [draft(tenant_id, f"{n}") for n in range(4)]
    sealed = await texts.seal(drafts)
    stored = [Stored(DESCRIPTION, d.idempotency_key, s[0]) for d, s in zip(drafts, sealed, strict=True)]
    assert await texts_of(ledger, File()).open(tenant_id, stored) == ["0", "1", "2", "3"]
    assert len(await ledger.sql("SELECT FROM credits.tenant_keys")) == 2
