"""What a file would do, asked of a real API server that keeps as it was."""

from datetime import UTC, datetime

import pytest

from bench.operator.arena import Arena
from bench.operator.widget import CONFIG_MAPS, SECRETS, WidgetKind, widget
from shieldx_operator.engine.client import ApiError
from shieldx_operator.engine.preview import Change, diff_text, preview
from shieldx_operator.engine.types import Query, Stall
from tests.e2e.engine.test_reconcile import settle

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def changes(ground: Arena, name: str, **spec: object) -> dict[str, Change]:
    document = widget(ground.group, ground.namespace, name, **spec)
    found = await preview(WidgetKind(ground.group), document, ground.client, NOW)
    return {f"{c.ref.resource.kind}/{c.ref.name}": c for c in found}


async def test_what_is_not_there_would_be_created_and_is_not(ground: Arena) -> None:
    found = await changes(ground, "w", data={"a": "1"}, password=True)
    assert {k: c.action for k, c in found.items()} == {"Secret/w-auth": "create", "ConfigMap/w": "create"}
    assert "+  a: '1'" in diff_text(found["ConfigMap/w"])
    assert await ground.client.get(ground.ref("w")) is None
    assert await ground.client.find(Query(SECRETS, ground.namespace)) == []
    assert await ground.config_maps() == 0


async def test_what_is_there_is_compared_and_left(ground: Arena) -> None:
    await ground.create("w", data={"a": "1"}, second={"b": "2"}, password=True)
    await settle(ground, "w")
    before = await ground.versions()
    same = await changes(ground, "w", data={"a": "1"}, second={"b": "2"}, password=True)
    assert {c.action for c in same.values()} == {"none"}
    other = await changes(ground, "w", data={"a": "2"}, password=True)
    assert "-  a: '1'\n+  a: '2'" in diff_text(other["ConfigMap/w"])
    assert await ground.versions() == before


async def test_an_applied_file_that_drops_a_field_would_prune(ground: Arena) -> None:
    owner = "shieldx-plan"
    ref = ground.ref("w")
    await ground.client.apply(
        ref, widget(ground.group, ground.namespace, "w", data={}, second={"b": "2"}), manager=owner
    )
    await settle(ground, "w")
    found = await changes(ground, "w", data={})
    assert found["ConfigMap/w-second"].action == "delete"
    assert await ground.client.get(ground.config_map("w-second")) is not None


async def test_no_value_of_a_secret_is_shown(ground: Arena) -> None:
    await ground.create("w", password=True)
    await settle(ground, "w")
    (secret,) = await ground.client.find(Query(SECRETS, ground.namespace))
    found = await changes(ground, "w", password=True)
    shown = str((found["Secret/w-auth"].before, found["Secret/w-auth"].after))
    assert "***" in shown
    assert not any(value in shown for value in secret["data"].values())


async def test_an_object_of_somebody_else_is_told_as_a_conflict(ground: Arena) -> None:
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "w"}, "data": {"theirs": "yes"}}
    await ground.client.create(CONFIG_MAPS, ground.namespace, theirs)
    found = await changes(ground, "w", data={"a": "1"})
    assert found["ConfigMap/w"].action == "conflict"


async def test_what_the_api_server_would_refuse_is_told_with_the_objects(ground: Arena) -> None:
    found = await changes(ground, "w", data={"not a key": "1"})
    assert "the API server would refuse it now" in found["ConfigMap/w"].note
    assert 'Invalid value: "not a key"' in found["ConfigMap/w"].note


async def test_a_document_that_the_api_server_refuses_is_an_error(ground: Arena) -> None:
    with pytest.raises(ApiError, match=r"metadata\.name"):
        await changes(ground, "Not_A_Name", data={})


async def test_a_document_that_the_kind_refuses_is_a_stall(ground: Arena) -> None:
    with pytest.raises(Stall, match="change it"):
        await changes(ground, "w", stall="change it")
