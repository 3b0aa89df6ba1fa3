"""Copies in a bucket: made, restored in place and into a new service; a bucket that refuses is told and left clean."""

import base64
import os
import secrets
import subprocess
import sys
import uuid

import pytest

from dev import objects
from dev.objects import Objects
from shieldx_operator.blocks import hold
from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.engine.types import Obj
from shieldx_operator.kinds.backup.view import RESOURCE as BACKUPS
from shieldx_operator.kinds.restore.view import RESOURCE as RESTORES
from tests.e2e.backup import s3
from tests.e2e.backup.conftest import READY_WITHIN_S, ended
from tests.e2e.platform.clients import Client
from tests.e2e.platform.world import CLIENT_LABELS, ROOT, SERVICES, World, condition
from tests.e2e.waiting import until
from tests.integration.backup.test_runbooks import blocks

pytestmark = pytest.mark.timeout(1200)
BOUGHT = 1000
_DATABASES = "SELECT datname FROM pg_database ORDER BY 1"


@pytest.fixture(scope="module")
def server(service: World) -> Objects:
    objects.build_and_load()
    return s3.install(service)


@pytest.fixture(scope="module")
def client(service: World) -> Client:
    made = Client(service, "caller", "credits").start(CLIENT_LABELS)
    made.wait()
    return made


@pytest.fixture(scope="module")
def spent(service: World, client: Client, server: Objects) -> int:
    """The balance that the copy `in-the-bucket` holds."""
    key = service.secret("org-1-credits-key", "api-key")
    _call(client, key, "purchase", BOUGHT)
    answer = _call(client, key, "consume", 7)
    told = service.get(s3.copy(service, "in-the-bucket", s3.destination(server, "good")))["status"]
    assert told["phase"] == "Succeeded", told
    return int(answer["body"]["balance"])


def _call(client: Client, key: str, what: str, amount: int) -> Obj:
    body = {"tenant_id": "org-1", "amount": amount, "idempotency_key": str(uuid.uuid4())}
    answer: Obj = client.call(key, "POST", f"/credits/{what}", body)
    assert answer["status"] == 200, answer
    return answer


def _balance(client: Client, key: str) -> int:
    def answered() -> Obj | None:
        answer: Obj = client.call(key, "GET", "/credits/balance/org-1")
        return answer if answer["status"] == 200 else None

    return int(until("the balance is answered", answered, 60, 1.0)["body"]["balance"])


def _restore(world: World, name: str, **spec: object) -> Obj:
    ref = world.ref(RESTORES, name)
    world.apply(ref, spec=spec)
    told: Obj = ended(world, ref)["status"]
    return told


def test_a_copy_in_a_bucket_is_sealed_listed_and_says_where_it_is(service: World, server: Objects, spent: int) -> None:
    assert spent
    told = service.get(service.ref(BACKUPS, "in-the-bucket"))["status"]
    assert told["location"].startswith(f"s3://{s3.BUCKET}/good/{service.namespace}.credits/database/")
    names = {key.rpartition("/")[2] for key in s3.keys_below(service, server, "good/")}
    assert names == {"manifest.json", "database.dump", "verified.json"}


@pytest.mark.parametrize(
    ("credentials", "bucket", "words"),
    [
        (s3.READER, s3.BUCKET, "AccessDenied"),
        (s3.STRANGER, s3.BUCKET, "SignatureDoesNotMatch"),
        (s3.OWNER, "not-there", "create the bucket"),
    ],
)
def test_a_bucket_that_refuses_is_told_and_holds_nothing_of_it(
    service: World, server: Objects, credentials: str, bucket: str, words: str
) -> None:
    name = f"refused-{credentials}-{bucket}"
    told = service.get(s3.copy(service, name, s3.destination(server, name, credentials, bucket)))
    assert told["status"]["phase"] == "Failed"
    assert told["status"]["failure"]["reason"] == "DestinationRefused"
    assert words in told["status"]["failure"]["message"]
    assert condition(told, "Ready")["status"] == "False"
    assert "backupID" not in told["status"]
    assert s3.keys_below(service, server, f"{name}/") == []


def test_a_restore_whose_books_do_not_add_up_is_rolled_back_and_the_service_serves_what_it_had(
    service: World, server: Objects, client: Client, spent: int
) -> None:
    key = service.secret("org-1-credits-key", "api-key")
    there = service.sql("credits", _DATABASES)
    more = "UPDATE credits.accounts SET balance = balance {0} 1, total_purchased = total_purchased {0} 1"
    service.sql("credits", more.format("+"))
    try:
        s3.copy(service, "does-not-add-up", s3.destination(server, "bad"))
    finally:
        service.sql("credits", more.format("-"))
    told = _restore(
        service,
        "of-wrong-books",
        source={"backupRef": {"name": "does-not-add-up"}, "replay": False},
        target={"name": "credits", "mode": "InPlace"},
        confirm="credits",
    )
    assert told["phase"] == "Failed"
    assert told["failure"]["reason"] == "NotProved"
    assert "do not add up" in told["failure"]["message"]
    assert told["rolledBack"]
    assert service.find(hold.ref(service.namespace, "credits")) is None or _is_going(service)
    service.wait_ready(service.ref(SERVICES, "credits"), READY_WITHIN_S)
    assert _balance(client, key) == spent
    assert service.sql("credits", _DATABASES) == there


def _is_going(service: World) -> bool:
    service.gone(hold.ref(service.namespace, "credits"))
    return True


def test_a_restore_by_a_wrong_key_is_told_and_the_service_serves_what_it_had(
    service: World, client: Client, spent: int
) -> None:
    """The key's content is another one under the same id: what a Secret that was made anew looks like."""
    keys = service.get(service.ref(SECRET, "keys"))["data"]
    other = base64.b64encode(base64.b64encode(secrets.token_bytes(32))).decode()
    service.change(service.ref(SECRET, "keys"), {"data": {"k1": other}})
    try:
        told = _restore(
            service,
            "by-a-wrong-key",
            source={"backupRef": {"name": "in-the-bucket"}},
            target={"name": "credits", "mode": "InPlace"},
            confirm="credits",
        )
    finally:
        service.change(service.ref(SECRET, "keys"), {"data": {"k1": keys["k1"]}})
    assert told["phase"] == "Failed"
    assert "its MAC under key 'k1' is another one" in told["failure"]["message"]
    service.wait_ready(service.ref(SERVICES, "credits"), READY_WITHIN_S)
    assert _balance(client, service.secret("org-1-credits-key", "api-key")) == spent


def test_a_restore_without_room_is_told_and_the_service_serves_what_it_had(
    service: World, server: Objects, client: Client, spent: int
) -> None:
    """The program asks for room before it fetches: a pod that is evicted for its volume could not say why."""
    service.sql(
        "credits", "CREATE TABLE credits.bulk AS SELECT sha256(n::text::bytea) FROM generate_series(1, 99999) n"
    )
    try:
        s3.copy(service, "of-some-size", s3.destination(server, "large"))
    finally:
        service.sql("credits", "DROP TABLE credits.bulk")
    there = service.sql("credits", _DATABASES)
    told = _restore(
        service,
        "without-room",
        source={"backupRef": {"name": "of-some-size"}},
        target={"name": "credits", "mode": "InPlace"},
        confirm="credits",
        scratchSize="2Mi",
    )
    assert told["phase"] == "Failed"
    assert told["failure"]["reason"] == "NoSpace"
    assert "scratchSize" in told["failure"]["message"]
    stalled = condition(service.get(service.ref(RESTORES, "without-room")), "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "NoSpace")
    service.wait_ready(service.ref(SERVICES, "credits"), READY_WITHIN_S)
    assert _balance(client, service.secret("org-1-credits-key", "api-key")) == spent
    assert service.sql("credits", _DATABASES) == there


def test_a_new_service_serves_the_copy_to_the_tenants_keys_of_the_old_one(
    service: World, client: Client, spent: int
) -> None:
    """By the runbook, word for word. The pepper goes with the Secret that is copied before."""
    keep_pepper, fill, look = blocks("restore-into-a-new-service.md")
    settings = {"OLD": "credits", "NEW": "second", "BACKUP": "in-the-bucket"}
    _run(service, keep_pepper + fill, settings)
    restore = service.ref(RESTORES, "fill-second")
    until("its hold is there before it is", lambda: service.find(hold.ref(service.namespace, "second")), 60)
    network = {"allowFrom": [{"podSelector": {"matchLabels": CLIENT_LABELS}}]}
    spec = {"profile": "Development", "database": {"managed": {}}, "cache": {"managed": {}}, "network": network}
    service.apply(service.ref(SERVICES, "second"), spec=spec)
    told = ended(service, restore)["status"]
    assert told["phase"] == "Succeeded", told.get("failure")
    service.wait_ready(service.ref(SERVICES, "second"), READY_WITHIN_S)
    beside = Client(service, client.pod, "second")
    key = service.secret("org-1-credits-key", "api-key")
    assert _balance(beside, key) == spent
    assert _call(beside, key, "consume", 1)["body"]["balance"] == spent - 1
    assert _balance(client, key) == spent
    assert "Succeeded" in _run(service, look, settings)
    service.delete(service.ref(SERVICES, "second"))


def _run(world: World, script: str, settings: dict[str, str]) -> str:
    """A runbook's lines in the world's namespace."""
    kubectl = f'kubectl() {{ {sys.executable} -m dev.cluster kubectl --namespace={world.namespace} "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", kubectl + script],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
