"""Where secrets are, how long they live, and what is told of a user's own that cannot be used."""

import json
from pathlib import Path

import pytest

from shieldx_contract import ENV_AUDIT_SIGNING_KEY_FILE, ENV_MASTER_KEYS_FILE
from shieldx_operator.blocks.resources import ref_of
from shieldx_operator.engine.secrets import decoded
from shieldx_operator.engine.types import Obj
from shieldx_runtime.credits.sealing_settings import load_audit
from tests.unit.kinds.creditsservice.world import EXTERNAL, MANAGED, running, world
from tests.unit.kinds.world import secret


def test_no_secret_value_stands_outside_of_secrets() -> None:
    w = running()
    values = {
        v
        for o in w.objects.values()
        if o["kind"] == "Secret"
        for k, v in decoded(o).items()
        if k in {"password", "pepper", "admin-secret", "admin-key", "uri", "signing-key", "master-keys"}
    }
    assert len(values) >= 8
    rest = json.dumps([o for o in w.objects.values() if o["kind"] != "Secret"]) + json.dumps(w.parent)
    assert not [v for v in values if v in rest]


@pytest.mark.parametrize(
    ("secrets", "reason", "words"),
    [
        ([], "SecretNotFound", ["Secret team/their-db", "'uri'", "spec.database.external.secretRef"]),
        ([secret("team", "their-db", {"other": "x"})], "SecretKeyMissing", ["their-db", "'uri'"]),
        ([secret("team", "their-db", {"uri": "mysql://h"})], "SecretInvalid", ["postgresql://"]),
        ([secret("team", "their-db", {"uri": "postgresql://u:p[q@h/d"})], "SecretInvalid", ["their-db", "%5B"]),
        (
            [secret("team", "their-db", {"uri": "postgresql://u:p@h/d"})],
            "SecretNotFound",
            ["their-cache", "'url'", "spec.cache.external.secretRef"],
        ),
    ],
)
def test_an_unusable_secret_of_the_users_names_itself(secrets: list[Obj], reason: str, words: list[str]) -> None:
    w = world(EXTERNAL)
    for s in secrets:
        w.objects[ref_of(s)] = s
    w.step()
    ready, stalled = w.condition("Ready"), w.condition("Stalled")
    if len(secrets) == 1 and reason == "SecretNotFound":
        ready = w.condition("CacheReady")
    else:
        assert stalled.status == "True"
    assert ready.reason == reason
    for word in words:
        assert word in ready.message


@pytest.mark.parametrize(("policy", "retained"), [("Retain", True), ("Delete", False)])
def test_data_and_what_opens_it_live_equally_long(policy: str, *, retained: bool) -> None:
    w = running({**MANAGED, "database": {"managed": {"deletionPolicy": policy}}})
    for kind, name in (
        ("PersistentVolumeClaim", "pay-db"),
        *(("Secret", f"pay-{s}") for s in ("db", "db-service", "auth", "audit")),
    ):
        notes = w.one(kind, name)["metadata"].get("annotations", {})
        assert (notes.get("platform.shieldx.io/retain") == "true") is retained, (kind, name)


def test_the_api_has_usable_audit_keys_in_the_files_that_it_is_told_of(tmp_path: Path) -> None:
    w = running()
    pod = w.one("Deployment", "pay")["spec"]["template"]["spec"]
    told = {e["name"]: e["value"] for e in pod["containers"][0]["env"]}
    place = next(m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "audit")
    volume = next(v["secret"] for v in pod["volumes"] if v["name"] == "audit")
    values = decoded(w.one("Secret", volume["secretName"]))
    environ = {}
    for name in (ENV_AUDIT_SIGNING_KEY_FILE, ENV_MASTER_KEYS_FILE):
        folder, _, key = told[name].rpartition("/")
        assert folder == place
        assert key in {i["path"] for i in volume["items"]}
        (tmp_path / key).write_text(values[key])
        environ[name] = str(tmp_path / key)
    settings = load_audit(environ)
    assert settings.signing_key
    assert "PUBLIC KEY" in settings.signing_key.signer().public_pem()
    masters = settings.masters.current()
    assert masters
    assert masters.active_id == "k1"


def test_a_pod_of_an_older_template_is_told_of_no_file_that_it_has_not() -> None:
    w = running()
    assert not {ENV_AUDIT_SIGNING_KEY_FILE, ENV_MASTER_KEYS_FILE} & w.one("ConfigMap", "pay-config")["data"].keys()


def test_the_migration_has_no_audit_keys() -> None:
    w = running()
    pod = w.lists["jobs"][0]["spec"]["template"]["spec"]
    assert "pay-audit" not in json.dumps(pod)
