"""The API connects by a role of its own, which the owner of the database makes."""

import dataclasses
import json

from shieldx_contract import DATABASE_SECRET_DIR, ENV_DATABASE_SERVICE_URI_FILE, ENV_DATABASE_URI_FILE
from shieldx_operator.blocks.resources import ref_of
from shieldx_operator.blocks.workload import pin_template
from shieldx_operator.engine.secrets import decoded
from shieldx_operator.engine.types import Obj
from shieldx_operator.kinds.creditsservice import build
from shieldx_operator.kinds.creditsservice.view import view
from tests.unit.kinds.creditsservice.world import EXTERNAL, finish_job, running, world
from tests.unit.kinds.world import SETTINGS, World, mounted, secret


def variables(pod: Obj) -> dict[str, str]:
    return {e["name"]: e["value"] for e in pod["containers"][0].get("env", ())}


def test_the_api_does_not_connect_as_the_owner_of_its_database_and_the_migration_does() -> None:
    w = running()
    api = w.one("Deployment", "pay")["spec"]["template"]["spec"]
    assert "pay-db-service" in mounted(api).values()
    assert "pay-db" not in mounted(api).values()
    migration = w.lists["jobs"][0]["spec"]["template"]["spec"]
    told = variables(migration)
    owner, service = (told[n].rpartition("/")[0] for n in (ENV_DATABASE_URI_FILE, ENV_DATABASE_SERVICE_URI_FILE))
    assert mounted(migration) == {owner: "pay-db", service: "pay-db-service"}
    uris = [decoded(w.one("Secret", name))["uri"] for name in ("pay-db", "pay-db-service")]
    assert [u.split("@")[1] for u in uris] == ["pay-db.team.svc:5432/credits"] * 2
    assert [u.split(":")[1] for u in uris] == ["//credits", "//credits_service"]
    assert uris[0].split(":")[2] != uris[1].split(":")[2]


def test_a_new_password_of_the_apis_role_is_brought_to_the_database() -> None:
    w = running()
    old = w.lists["jobs"][0]["metadata"]["name"]
    w.one("Secret", "pay-db-service")["metadata"]["uid"] = "another"
    w.step()
    assert w.lists["jobs"][0]["metadata"]["name"] != old


def as_an_older_operator_made_it(w: World) -> None:
    deployment = w.one("Deployment", "pay")
    settings = dataclasses.replace(SETTINGS)
    made = build.deployment(view(w.parent, settings), settings, as_owner=True)
    w.objects[ref_of(deployment)] = {**deployment, **pin_template(made, None, view(w.parent, settings).spec_digest)}
    w.one("Deployment", "pay")["metadata"]["generation"] = 1


def test_a_service_of_an_older_operator_gets_its_role_with_its_next_version() -> None:
    w = running()
    as_an_older_operator_made_it(w)
    w.parent["spec"]["settings"] = {"drainDelaySeconds": 7}
    w.step()
    template = w.one("Deployment", "pay")["spec"]["template"]["spec"]
    assert template["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 7
    assert mounted(template)[DATABASE_SECRET_DIR] == "pay-db", "the release that runs may have made no other role"
    w.parent["spec"]["version"] = "1.1.0"
    w.step()
    finish_job(w)
    w.step()
    assert mounted(w.one("Deployment", "pay")["spec"]["template"]["spec"])[DATABASE_SECRET_DIR] == "pay-db-service"


def external(**references: Obj) -> World:
    w = world({**EXTERNAL, "database": {"external": references}})
    for name, key, uri in (
        ("their-db", "uri", "postgresql://api:p@h:6543/d"),
        ("their-owner", "owner-uri", "postgresql://owner:q@h:7654/d"),
        ("their-cache", "url", "redis://:p@h:6390/0"),
    ):
        made = secret("team", name, {key: uri})
        w.objects[ref_of(made)] = made
    w.step()
    return w


def test_an_external_database_may_have_an_owner_beside_the_apis_role() -> None:
    w = external(secretRef={"name": "their-db"}, ownerSecretRef={"name": "their-owner", "key": "owner-uri"})
    migration = w.lists["jobs"][0]["spec"]["template"]["spec"]
    told = variables(migration)
    assert told[ENV_DATABASE_URI_FILE].endswith("/owner-uri")
    assert told[ENV_DATABASE_SERVICE_URI_FILE].endswith("/uri")
    assert set(mounted(migration).values()) == {"their-db", "their-owner"}
    ports = {p["port"] for r in w.one("NetworkPolicy", "pay-migration")["spec"]["egress"] for p in r["ports"]}
    assert ports == {53, 7654}
    finish_job(w)
    w.step()
    assert "their-owner" not in json.dumps(w.one("Deployment", "pay")["spec"])


def test_an_external_database_without_an_owner_has_one_role_for_both() -> None:
    w = external(secretRef={"name": "their-db"})
    migration = w.lists["jobs"][0]["spec"]["template"]["spec"]
    assert ENV_DATABASE_SERVICE_URI_FILE not in variables(migration)
    assert set(mounted(migration).values()) == {"their-db"}


def test_an_owner_whose_secret_is_missing_is_named_by_its_field() -> None:
    w = external(secretRef={"name": "their-db"}, ownerSecretRef={"name": "nobody"})
    stalled = w.condition("Stalled")
    assert (stalled.status, stalled.reason) == ("True", "SecretNotFound")
    assert stalled.message.startswith("spec.database.external.ownerSecretRef: Secret team/nobody")
    assert not w.lists["jobs"]
