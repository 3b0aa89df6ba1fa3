"""Proofs, export and erasure as a client sees them: the service's answers, and the commands that check them."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev.devserver.service import CreditsProcess
from shieldx_contract import (
    ENV_AUDIT_SIGNING_KEY_FILE,
    ENV_DATABASE_URI_FILE,
    ENV_MASTER_KEYS_FILE,
    ENV_SEAL_INTERVAL_S,
)
from tests.integration.harness import Api, Stack, assert_books_balance, command, new_id, problem_of


@pytest.fixture(scope="module")
def auditor(stack: Stack) -> Iterator[CreditsProcess]:
    """A replica that seals all the time."""
    with ExitStack() as exits:
        yield stack.replica(exits, **{ENV_SEAL_INTERVAL_S: "0.2"})


@pytest.fixture(scope="module")
def public_key(auditor: CreditsProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "public.pem"
    path.write_text(command("public-key", environ=auditor.environ).stdout, encoding="utf-8")
    return path


def proof_of(api: Api, transaction_id: str) -> dict[str, Any]:
    """The proof, once there is one."""
    deadline = time.monotonic() + 20
    while (answer := api.http.get(f"/credits/proof/{transaction_id}")).status_code != 200:
        assert answer.status_code in (404, 409), answer.text
        assert int(answer.headers["Retry-After"]) >= 1
        assert time.monotonic() < deadline
        time.sleep(0.1)
    found: dict[str, Any] = answer.json()
    return found


def saved(folder: Path, name: str, answer: dict[str, Any]) -> Path:
    path = folder / name
    path.write_text(json.dumps(answer), encoding="utf-8")
    return path


def exported(api: Api, tenant_id: str, **parameters: Any) -> list[dict[str, Any]]:
    """All records of all pages of a tenant's export."""
    records: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = {**parameters, **({"cursor": cursor} if cursor else {})}
        answer = api.http.get(f"/credits/export/{tenant_id}", params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/x-ndjson"
        *page, last = [json.loads(line) for line in answer.text.splitlines()]
        assert last["type"] == "page"
        assert len(page) <= parameters.get("limit", 500)
        records += page
        cursor = last["next_cursor"]
        if cursor is None:
            return records


def of_type(records: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [record for record in records if record["type"] == name]


def texts_told(api: Api, tenant_id: str) -> list[Any]:
    history = api.http.get(f"/credits/transactions/{tenant_id}").json()["transactions"]
    lots = api.http.get(f"/credits/grants/{tenant_id}").json()["grants"]
    return [[e["description"], e["reference"]] for e in history] + [lot["reference"] for lot in lots]


def test_a_transaction_is_proved_to_somebody_who_has_only_the_public_key(
    api: Api, auditor: CreditsProcess, public_key: Path, tmp_path: Path
) -> None:
    tenant_id = api.tenant(10)
    first = api.consume(tenant_id, 1).json()["transaction_id"]
    proof = saved(tmp_path, "proof.json", proof_of(api, first))
    done = command("verify-proof", proof, "--public-key", public_key, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verified"] is True
    assert first in json.loads(done.stdout)["entry"]

    kept = saved(tmp_path, "kept.json", api.http.get("/credits/checkpoint").json())
    proof_of(api, api.consume(tenant_id, 1).json()["transaction_id"])
    size = json.loads(kept.read_text(encoding="utf-8"))["tree_size"]
    grown = saved(tmp_path, "grown.json", api.http.get("/credits/consistency", params={"from": size}).json())
    done = command("verify-proof", grown, "--public-key", public_key, "--checkpoint", kept)
    assert done.returncode == 0, done.stderr
    assert f"the log of {size} entries is the beginning" in done.stdout

    changes: tuple[dict[str, object], ...] = ({"leaf_index": 0}, {"entry": "2|forged"}, {"path": []})
    for change in changes:
        forged = saved(tmp_path, "forged.json", {**json.loads(proof.read_text(encoding="utf-8")), **change})
        assert command("verify-proof", forged, "--public-key", public_key).returncode == 1
    assert auditor.readiness()[0] == 200


def test_the_whole_ledger_is_exported_and_checked_and_one_changed_byte_is_named(
    api: Api, auditor: CreditsProcess, public_key: Path, tmp_path: Path
) -> None:
    tenant_id = api.tenant(10)
    proof_of(api, api.consume(tenant_id, 1, description="for the auditor").json()["transaction_id"])
    kept = saved(tmp_path, "kept.json", api.http.get("/credits/checkpoint").json())
    export = tmp_path / "ledger.ndjson"
    done = command("export-ledger", "--output", export, environ=auditor.environ)
    assert done.returncode == 0, done.stderr
    assert export.stat().st_mode & 0o077 == 0
    assert b"for the auditor" not in export.read_bytes()
    done = command("verify-ledger", export, "--public-key", public_key, "--checkpoint", kept)
    assert done.returncode == 0, done.stderr
    assert "chains verify" in done.stdout

    content = bytearray(export.read_bytes())
    place = content.index(tenant_id.encode())
    content[place] ^= 1
    export.write_bytes(content)
    done = command("verify-ledger", export, "--public-key", public_key, "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["line"] == content.count(b"\n", 0, place) + 1
    assert f"line {found['line']}, entry {found['entry']}:" in done.stderr


def test_commands_say_what_is_wrong_with_what_they_are_given(public_key: Path, tmp_path: Path) -> None:
    absent, junk = tmp_path / "absent", tmp_path / "junk"
    junk.write_text("junk", encoding="utf-8")
    for arguments, code, words in (
        (("verify-ledger", absent, "--public-key", public_key), 2, "cannot be read"),
        (("verify-ledger", junk, "--public-key", public_key), 1, "line 1, entry 0: the line is no record"),
        (("verify-ledger", junk, "--public-key", junk), 2, "it holds no public key"),
        (("verify-ledger", junk, "--public-key", absent), 2, "cannot be read"),
        (("verify-ledger", junk, "--public-key", public_key, "--checkpoint", junk), 2, "no signed note"),
        (("verify-proof", junk, "--public-key", public_key), 2, "it is no answer of a proof call"),
        (("export-ledger",), 2, f"{ENV_DATABASE_URI_FILE}: not set"),
        (("public-key",), 2, f"{ENV_AUDIT_SIGNING_KEY_FILE}: not set"),
    ):
        done = command(*arguments)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert words in done.stderr


@pytest.mark.usefixtures("auditor")
def test_proofs_are_for_readers_of_that_tenant_alone(api: Api) -> None:
    mine, other = api.tenant(10), api.tenant(10)
    transaction_id = api.consume(mine, 1).json()["transaction_id"]
    proof_of(api, transaction_id)
    with api.with_key(api.issue(mine, "read")) as reader:
        assert reader.http.get(f"/credits/proof/{transaction_id}").status_code == 200
        assert reader.http.get("/credits/checkpoint").status_code == 200
    with api.with_key(api.issue(other, "read")) as stranger:
        hidden = problem_of(stranger.http.get(f"/credits/proof/{transaction_id}"), 404, "unknown-transaction")
        unknown = problem_of(stranger.http.get(f"/credits/proof/{uuid.UUID(int=7)}"), 404, "unknown-transaction")
        assert hidden["detail"].replace(transaction_id, "") == unknown["detail"].replace(str(uuid.UUID(int=7)), "")
    with api.with_key(api.issue(mine, "consume")) as consumer:
        for path in (f"proof/{transaction_id}", "checkpoint", "consistency?from=1", f"export/{mine}"):
            problem_of(consumer.http.get(f"/credits/{path}"), 403, "missing-scope")
    for path in (
        "proof/no-uuid",
        "consistency",
        "consistency?from=0",
        "consistency?from=x",
        f"consistency?from={2**62}",
    ):
        problem_of(api.http.get(f"/credits/{path}"), 422, "validation-failed")


def test_texts_are_sealed_at_rest_and_readable_through_every_replica(api: Api, replica: Api, stack: Stack) -> None:
    tenant_id = api.tenant()
    assert api.purchase(tenant_id, 10, reference="invoice of Jane Roe").status_code == 200
    key = new_id()
    for client in (api, replica, api):
        answer = client.consume(tenant_id, 1, key=key, description="call by Jane Roe", reference="req-1")
        assert answer.status_code == 200
    for client in (api, replica):
        assert texts_told(client, tenant_id) == [
            ["call by Jane Roe", "req-1"],
            [None, "invoice of Jane Roe"],
            "invoice of Jane Roe",
        ]
    for table in ("ledger", "grants", "idempotency", "tenant_keys", "events"):
        rows = stack.sql(f"SELECT t::text AS row FROM credits.{table} t")  # noqa: S608
        assert not any("Jane" in row["row"] or "req-1" in row["row"] for row in rows), table
    assert_books_balance(stack, tenant_id)


def test_an_export_has_everything_about_a_tenant_in_pages(api: Api) -> None:
    tenant_id = api.tenant()
    for n in range(3):
        assert api.purchase(tenant_id, 10, reference=f"invoice {n}").status_code == 200
        assert api.consume(tenant_id, 2, description=f"call {n}").status_code == 200
    rule = {"thresholds": [9, 3], "webhook_url": "https://example.invalid/hook"}
    secret = api.http.put(f"/credits/alerts/{tenant_id}", json=rule).json()["secret"]
    key = api.issue(tenant_id, "read")
    with api.with_key(key) as reader:
        whole = exported(reader, tenant_id)
        paged = exported(reader, tenant_id, limit=2)
    (account,) = of_type(whole, "account")
    assert (account["format"], account["balance"], account["version"]) == ("shieldx-tenant-export/1", 24, 6)
    (told,) = of_type(whole, "alert_rule")
    assert told == {"type": "alert_rule", **rule, "secret_version": 1, "updated_at": told["updated_at"]}
    assert secret not in json.dumps(whole)
    assert [g["reference"] for g in of_type(whole, "grant")] == ["invoice 0", "invoice 1", "invoice 2"]
    assert [t["description"] for t in of_type(whole, "transaction")][1::2] == ["call 0", "call 1", "call 2"]
    assert [k["key_id"] for k in of_type(whole, "key")] == [key.split("_")[1]]
    assert key.split("_", 2)[2] not in json.dumps(whole)
    assert [a["action"] for a in of_type(whole, "access")] == ["export"]
    without_accesses = [record for record in whole if record["type"] != "access"]
    assert [record for record in paged if record["type"] != "access"] == without_accesses
    assert len(of_type(paged, "access")) > 2


def test_an_export_is_for_the_tenant_itself_and_refuses_made_up_cursors(api: Api) -> None:
    mine, other = api.tenant(1), api.tenant(1)
    with api.with_key(api.issue(mine, "read")) as reader:
        for tenant_id in (other, "no-such-tenant"):
            problem_of(reader.http.get(f"/credits/export/{tenant_id}"), 404, "unknown-tenant")
    problem_of(api.http.get("/credits/export/no-such-tenant"), 404, "unknown-tenant")
    for cursor in ("x", "nonsense", "Z3JhbnRzfHg", "dHJhbnNhY3Rpb25zfC0x", "\u00e9", "b3RoZXJ8"):
        answer = api.http.get(f"/credits/export/{mine}", params={"cursor": cursor})
        problem_of(answer, 422, "validation-failed")


def test_erasure_ends_the_texts_everywhere_and_leaves_money_and_proofs_as_they_were(
    api: Api, replica: Api, stack: Stack, auditor: CreditsProcess, public_key: Path, tmp_path: Path
) -> None:
    tenant_id, neighbour = api.tenant(), api.tenant()
    for each in (tenant_id, neighbour):
        assert api.purchase(each, 10, reference="invoice of Jane Roe").status_code == 200
        assert api.consume(each, 3, description="call by Jane Roe").status_code == 200
    transaction_id = replica.consume(tenant_id, 1, description="by Jane, too").json()["transaction_id"]
    proof_before = proof_of(api, transaction_id)
    balance = api.balance(tenant_id).json()

    answer = api.http.post(f"/credits/erase/{tenant_id}", json={"confirm": tenant_id})
    assert answer.status_code == 200, answer.text
    assert answer.json()["keys_destroyed"] == 1
    assert answer.json()["plain_texts"] == 0
    for client in (api, replica):
        assert texts_told(client, tenant_id) == [[None, None]] * 3 + [None]
        assert ["call by Jane Roe", None] in texts_told(client, neighbour)
        assert "Jane" not in json.dumps(exported(client, tenant_id))
        assert client.balance(tenant_id).json() == balance
    assert_books_balance(stack, tenant_id)
    proof = proof_of(api, transaction_id)
    assert proof["entry"] == proof_before["entry"]
    export = tmp_path / "ledger.ndjson"
    assert command("export-ledger", "-o", export, environ=auditor.environ).returncode == 0
    done = command("verify-ledger", export, "--public-key", public_key)
    assert done.returncode == 0, done.stderr

    again = api.http.post(f"/credits/erase/{tenant_id}", json={"confirm": tenant_id})
    assert (again.status_code, again.json()["keys_destroyed"]) == (200, 0)
    assert api.consume(tenant_id, 1, description="a new beginning").status_code == 200
    assert ["a new beginning", None] in texts_told(api, tenant_id)


def test_erasure_is_for_administrators_who_mean_it(api: Api) -> None:
    tenant_id = api.tenant()
    assert api.purchase(tenant_id, 1, reference="kept").status_code == 200
    path = f"/credits/erase/{tenant_id}"
    for body in ({"confirm": "another"}, {"confirm": None}, {}, {"confirm": tenant_id, "more": 1}):
        problem_of(api.http.post(path, json=body), 422, "validation-failed")
    problem_of(
        api.http.post("/credits/erase/no-such-tenant", json={"confirm": "no-such-tenant"}), 404, "unknown-tenant"
    )
    with api.with_key(api.issue(tenant_id, "read", "consume", "purchase")) as own:
        problem_of(own.http.post(path, json={"confirm": tenant_id}), 403, "missing-scope")
    assert texts_told(api, tenant_id)[-1] == "kept"


def test_who_looked_at_a_tenants_data_is_in_the_audit_log(api: Api, stack: Stack) -> None:
    tenant_id, other = api.tenant(5), api.tenant(5)
    reader_key, stranger_key = api.issue(tenant_id, "read"), api.issue(other, "read")
    with api.with_key(reader_key) as reader, api.with_key(stranger_key) as stranger:
        assert reader.http.get(f"/credits/transactions/{tenant_id}").status_code == 200
        assert reader.http.get(f"/credits/grants/{tenant_id}").status_code == 200
        assert stranger.http.get(f"/credits/transactions/{tenant_id}").status_code == 404
    assert api.http.post(f"/credits/erase/{tenant_id}", json={"confirm": tenant_id}).status_code == 200
    found = of_type(exported(api, tenant_id), "access")
    admin = f"bootstrap-{stack.admin_key.split('_')[1]}"
    assert [(a["key_id"], a["action"], a["outcome"]) for a in found] == [
        (reader_key.split("_")[1], "transactions", "granted"),
        (reader_key.split("_")[1], "grants", "granted"),
        (stranger_key.split("_")[1], "transactions", "refused"),
        (admin, "erase", "granted"),
        (admin, "export", "granted"),
    ]
    assert {a["from"] for a in found} == {"127.0.0.1"}
    assert found[0]["object"] == f"/credits/transactions/{tenant_id}"


def test_what_cannot_be_recorded_is_not_shown(api: Api, stack: Stack) -> None:
    tenant_id = api.tenant(5)
    stack.sql("ALTER TABLE credits.events RENAME TO events_away")
    try:
        answer: httpx.Response = api.http.get(f"/credits/transactions/{tenant_id}")
    finally:
        stack.sql("ALTER TABLE credits.events_away RENAME TO events")
    problem_of(answer, 503, "unavailable")


def test_without_keys_it_serves_and_says_clearly_what_that_means(stack: Stack) -> None:
    with ExitStack() as exits:
        process = stack.replica(exits, **{ENV_MASTER_KEYS_FILE: "", ENV_AUDIT_SIGNING_KEY_FILE: ""})
        plain = Api(process.url, stack.admin_key)
        exits.callback(plain.close)
        tenant_id = plain.tenant()
        assert plain.purchase(tenant_id, 5, reference="in the open").status_code == 200
        assert texts_told(plain, tenant_id)[-1] == "in the open"
        erased = plain.http.post(f"/credits/erase/{tenant_id}", json={"confirm": tenant_id}).json()
        assert (erased["keys_destroyed"], erased["plain_texts"]) == (0, 1)
        process.stop()
        logged = process.child.log_file.read_text(encoding="utf-8")
    assert "nothing is sealed: the audit log can be changed unseen" in logged
    assert "stored unencrypted and cannot be erased" in logged
    # a replica that has keys reads what was stored without
    assert texts_told(stack.api, tenant_id)[-1] == "in the open"


def test_keys_and_texts_are_in_no_log(stack: Stack, auditor: CreditsProcess) -> None:
    with ExitStack() as exits:
        api = Api(auditor.url, stack.admin_key)
        exits.callback(api.close)
        tenant_id = api.tenant()
        assert api.purchase(tenant_id, 5, reference="words of Jane Roe").status_code == 200
        assert texts_told(api, tenant_id)
        assert api.http.post(f"/credits/erase/{tenant_id}", json={"confirm": tenant_id}).status_code == 200
    logged = auditor.child.log_file.read_text(encoding="utf-8")
    assert "a tenant's texts were erased" in logged
    for name in (ENV_MASTER_KEYS_FILE, ENV_AUDIT_SIGNING_KEY_FILE):
        secret = Path(auditor.environ[name]).read_text(encoding="utf-8").split()[-1]
        assert secret not in logged
    assert "Jane" not in logged


def test_metrics_tell_how_far_the_tree_is(auditor: CreditsProcess, api: Api) -> None:
    proof_of(api, api.purchase(api.tenant(), 1).json()["transaction_id"])
    lines = dict(line.rsplit(" ", 1) for line in auditor.metrics().splitlines() if not line.startswith("#"))
    assert float(lines["credits_audit_tree_size"]) > 0
    assert float(lines["credits_audit_checkpoints_signed_total"]) > 0
    assert float(lines["credits_audit_broken_chains"]) == 0
    assert float(lines["credits_texts_unreadable_total"]) >= 0
