"""The operator as processes: killed, paused, refused, ended, and two at once."""

import asyncio
import json
import random
import secrets
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from aiohttp import web

from bench.operator.arena import Arena
from bench.operator.widget import WidgetKind
from shieldx_operator.engine import permissions
from shieldx_operator.engine.connection import Cluster
from shieldx_operator.engine.types import Obj, Ref, Resource
from tests.e2e.engine.conftest import OperatorProcess, Operators, connected
from tests.e2e.waiting import eventually

CLOSED = "http://127.0.0.1:9/"
SERVICE_ACCOUNTS = Resource("", "v1", "ServiceAccount", "serviceaccounts")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "Role", "roles")
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
LEASES = Resource("coordination.k8s.io", "v1", "Lease", "leases")


async def is_ready(ground: Arena, name: str) -> bool:
    widget = await ground.client.get(ground.ref(name))
    conditions = (widget or {}).get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def leading(operator: OperatorProcess, timeout_s: float = 20) -> None:
    await eventually(operator.leads, timeout_s, "leadership")


async def test_killed_at_random_moments_it_ends_in_the_right_state(ground: Arena, operators: Operators) -> None:
    names = [f"w{n}" for n in range(40)]
    for kill in range(6):
        operator = operators.start(ground, name=f"op-{kill}", lease=f"lease-{kill}")
        await leading(operator)
        for name in names[kill * 6 : kill * 6 + 6]:
            await ground.create(name, data={"a": "1"}, second={"b": "2"}, password=True, finalizer=True)
        await asyncio.sleep(random.random() * 0.4)  # noqa: S311 - any moment will do
        operator.send(signal.SIGKILL)
        await operator.ended(10)
    for name in names[36:]:
        await ground.create(name, data={"a": "1"}, second={"b": "2"}, password=True, finalizer=True)
    operator = operators.start(ground, name="op-last", lease="lease-last")
    for name in names:
        await eventually(partial(is_ready, ground, name), 30, f"Widget {name} Ready")
    versions = await ground.versions()
    assert sum(k.startswith("configmaps/w") for k in versions) == 80
    for name in names:
        await ground.delete(ground.ref(name))
    for name in names:
        assert await ground.until_gone(ground.ref(name), 30), f"Widget {name} is let go"


async def test_a_deleted_object_is_back_within_five_seconds(ground: Arena, operators: Operators) -> None:
    operators.start(ground)
    await ground.create("w", data={"a": "1"})
    await eventually(lambda: is_ready(ground, "w"), 30, "Widget w Ready")
    await ground.delete(ground.config_map("w"))
    waited_s = await ground.until_there(ground.config_map("w"), 5)
    assert waited_s is not None


async def _ready(operator: OperatorProcess) -> bool:
    return (await operator.get("/readyz"))[0] == 200


async def two(ground: Arena, operators: Operators) -> tuple[OperatorProcess, OperatorProcess]:
    """One operator that leads, and one that is ready to take over."""
    first = operators.start(ground, name="op-a")
    await leading(first)
    second = operators.start(ground, name="op-b")
    await eventually(lambda: _ready(second), 20, "the second is ready to take over")
    return first, second


async def test_one_leads_and_when_it_is_killed_the_other_takes_over_within_twenty_seconds(
    ground: Arena, operators: Operators
) -> None:
    first, second = await two(ground, operators)
    assert not await second.leads()
    first.send(signal.SIGKILL)
    killed_s = time.monotonic()
    await ground.create("w", data={"a": "1"})
    await eventually(lambda: is_ready(ground, "w"), 25, "Widget w Ready")
    assert time.monotonic() - killed_s <= 20
    assert await second.leads()


async def test_told_to_end_it_hands_over_at_once(ground: Arena, operators: Operators) -> None:
    first, second = await two(ground, operators)
    first.send(signal.SIGTERM)
    told_s = time.monotonic()
    await leading(second, 8)
    assert time.monotonic() - told_s <= 6
    assert await first.ended(20) == 0


async def test_a_leader_that_was_paused_while_another_took_over_writes_nothing_and_ends(
    ground: Arena, operators: Operators
) -> None:
    first, second = await two(ground, operators)
    first.send(signal.SIGSTOP)
    await leading(second, 25)
    await ground.create("w", data={"a": "1"})
    await eventually(lambda: is_ready(ground, "w"), 10, "Widget w Ready")
    first.send(signal.SIGCONT)
    assert await first.ended(10) == 1
    assert [line for line in first.log() if line["message"] == "reconciled" and line["result"] == "changed"] == []


@asynccontextmanager
async def slow_service(delay_s: float) -> AsyncIterator[tuple[str, list[str]]]:
    """A service that answers late; its URL and what it was told."""
    told: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        told.append((await request.json())["name"])
        await asyncio.sleep(delay_s)
        return web.json_response({})

    app = web.Application()
    app.router.add_put("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", told
    finally:
        await runner.cleanup()


async def test_told_to_end_it_finishes_the_running_step(ground: Arena, operators: Operators) -> None:
    async with slow_service(1.5) as (url, told):
        operator = operators.start(ground)
        await leading(operator)
        await ground.create("w", data={"a": "1"}, call=url)

        async def called() -> bool:
            return bool(told)

        await eventually(called, 10, "the call")
        operator.send(signal.SIGTERM)
        assert await operator.ended(20) == 0
        assert await is_ready(ground, "w")


async def test_a_broken_object_delays_no_other(ground: Arena, operators: Operators) -> None:
    operator = operators.start(ground, workers=2)
    await leading(operator)
    for n in range(6):
        await ground.create(f"broken-{n}", data={"a": "1"}, call=CLOSED)
    await asyncio.sleep(1)
    for n in range(10):
        await ground.create(f"w{n}", data={"a": "1"})
        waited_s = await ground.until_there(ground.config_map(f"w{n}"), 5)
        assert waited_s is not None
        assert waited_s < 1
    assert await operator.metric("shieldx_operator_queue_retries_total") >= 6


async def least_privileged(ground: Arena, folder: Path, kubeconfig: str) -> str:
    """A kubeconfig of a service account that may do exactly what `permissions.required` says."""
    namespace = ground.namespace
    await grant(ground, rules(ground))
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "op"}}
    await ground.client.apply(Ref(SERVICE_ACCOUNTS, namespace, "op"), account)
    binding = {
        "apiVersion": BINDINGS.api_version,
        "kind": BINDINGS.kind,
        "metadata": {"name": "op"},
        "roleRef": {"apiGroup": ROLES.group, "kind": "Role", "name": "op"},
        "subjects": [{"kind": "ServiceAccount", "name": "op", "namespace": namespace}],
    }
    await ground.client.apply(Ref(BINDINGS, namespace, "op"), binding)
    tokens = Resource("", "v1", "TokenRequest", "serviceaccounts/op/token")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = (await ground.client.create(tokens, namespace, request))["status"]["token"]
    configuration = await Cluster(kubeconfig=kubeconfig).configuration()
    cluster = {"server": configuration.host, "certificate-authority": configuration.ssl_ca_cert}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "op",
        "contexts": [{"name": "op", "context": {"cluster": "op", "user": "op"}}],
        "clusters": [{"name": "op", "cluster": cluster}],
        "users": [{"name": "op", "user": {"token": token}}],
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return str(path)


def rules(ground: Arena) -> list[Obj]:
    wanted = permissions.required([WidgetKind(ground.group)]) + permissions.required_at_home()
    return [dict(rule.to_json()) for rule in wanted]


async def grant(ground: Arena, wanted: list[Obj]) -> None:
    role = {"apiVersion": ROLES.api_version, "kind": "Role", "metadata": {"name": "op"}, "rules": wanted}
    await ground.client.apply(Ref(ROLES, ground.namespace, "op"), role)


async def test_the_derived_permissions_suffice_for_a_whole_life(
    ground: Arena, operators: Operators, kubeconfig: str, tmp_path: Path
) -> None:
    restricted = await least_privileged(ground, tmp_path, kubeconfig)
    operator = operators.start(ground, kubeconfig=restricted, resync_s=3)
    await ground.create("w", data={"a": "1"}, second={"b": "2"}, password=True, finalizer=True)
    await eventually(lambda: is_ready(ground, "w"), 30, "Widget w Ready")
    there = await ground.client.get(ground.ref("w"))
    assert there is not None
    await ground.client.replace(ground.ref("w"), {**there, "spec": {"data": {"a": "2"}, "finalizer": True}})
    assert await ground.until_gone(ground.config_map("w-second"), 10)
    await asyncio.sleep(5)  # a sweep and a resync
    await ground.delete(ground.ref("w"))
    assert await ground.until_gone(ground.ref("w"), 10)
    operator.send(signal.SIGTERM)
    assert await operator.ended(20) == 0
    refused = [line for line in operator.log() if "forbidden" in json.dumps(line).lower()]
    assert refused == []


async def test_a_watch_that_is_refused_fails_the_liveness_probe_until_it_is_allowed_again(
    ground: Arena, operators: Operators, kubeconfig: str, tmp_path: Path
) -> None:
    restricted = await least_privileged(ground, tmp_path, kubeconfig)
    operator = operators.start(ground, kubeconfig=restricted, watch_timeout_s=5)
    await leading(operator)
    await asyncio.sleep(3)
    assert await operator.healthy()
    without = [
        {**rule, "verbs": [v for v in rule["verbs"] if v != "watch"]} if "configmaps" in rule["resources"] else rule
        for rule in rules(ground)
    ]
    await grant(ground, without)

    async def unhealthy() -> bool:
        return not await operator.healthy()

    await eventually(unhealthy, 60, "/healthz 500")
    _, body = await operator.get("/healthz")
    problems = json.loads(body)["problems"]
    assert any("configmaps" in p and ("HTTP 403" in p or "kopf ended" in p) for p in problems), problems
    await grant(ground, rules(ground))
    await eventually(operator.healthy, 90, "/healthz 200 again")


async def test_one_operator_serves_the_whole_cluster(ground: Arena, operators: Operators, kubeconfig: str) -> None:
    operator = operators.start(ground, everywhere="yes")
    async with connected(kubeconfig, f"{ground.namespace}-b") as other:
        await other.open()
        try:
            await other.create("w", data={"a": "1"})
            await eventually(lambda: is_ready(other, "w"), 30, "Widget w Ready")
            assert await operator.healthy()
            await other.delete(other.config_map("w"))
            assert await other.until_there(other.config_map("w"), 5) is not None
        finally:
            await other.close()


async def test_the_lease_names_the_process_that_leads(ground: Arena, operators: Operators) -> None:
    name = f"op-{secrets.token_hex(2)}"
    await leading(operators.start(ground, name=name))
    lease = await ground.client.get(Ref(LEASES, ground.namespace, "widget-operator"))
    assert lease is not None
    assert lease["spec"]["holderIdentity"].startswith(f"{name}_")
