"""Who reaches whom. Each closed way is tried beside an open one, so that a network that is down proves nothing."""

import pytest

from shieldx_contract import HEALTH_PORT, HTTP_PORT
from tests.e2e.platform.clients import LISTENS_ON
from tests.e2e.platform.conftest import SERVICE, Running
from tests.e2e.platform.scripts import NAMES, REACH
from tests.e2e.platform.world import World

API_SERVER = "kubernetes.default.svc:443"


def host(world: World, suffix: str = "") -> str:
    return f"{SERVICE}{suffix}.{world.namespace}.svc"


def stores(world: World) -> list[str]:
    """Both stores, by their Services and by their pods' own addresses."""
    by_pod = [
        f"{pod['status']['podIP']}:{port}"
        for component, port in (("database", 5432), ("cache", 6379))
        for pod in world.pods(SERVICE, component)
    ]
    assert len(by_pod) == 2
    return [f"{host(world, '-db')}:5432", f"{host(world, '-cache')}:6379", *by_pod]


def test_only_pods_with_the_allowed_label_reach_the_api_and_none_reaches_a_store(running: Running) -> None:
    world = running.world
    api = f"{host(world)}:{HTTP_PORT}"
    pods = [f"{pod['status']['podIP']}:{HTTP_PORT}" for pod in world.pods(SERVICE, "api")]
    elsewhere = f"{running.stranger.ip()}:{LISTENS_ON}"
    closed = stores(world)
    allowed = running.client.reach(api, *pods, elsewhere, *closed)
    assert allowed == {**dict.fromkeys([api, *pods, elsewhere], "open"), **dict.fromkeys(closed, "TimeoutError")}
    elsewhere = f"{running.client.ip()}:{LISTENS_ON}"
    other = running.stranger.reach(api, *pods, elsewhere, *closed)
    assert other == {elsewhere: "open", **dict.fromkeys([api, *pods, *closed], "TimeoutError")}


def test_health_and_metrics_are_for_the_scrapers_alone(running: Running) -> None:
    world = running.world
    health = [f"{pod['status']['podIP']}:{HEALTH_PORT}" for pod in world.pods(SERVICE, "api")]
    assert set(running.client.reach(*health).values()) == {"TimeoutError"}
    scraper = {"podSelector": {"matchLabels": {"shieldx.io/credits-client": "false"}}}
    world.change(running.ref, {"spec": {"network": {"metricsFrom": [scraper]}}})
    running.ready()
    assert set(running.stranger.reach(*health).values()) == {"open"}
    assert set(running.client.reach(*health).values()) == {"TimeoutError"}


def test_an_api_pod_reaches_its_stores_and_nothing_else(running: Running) -> None:
    world = running.world
    closed = [API_SERVER, f"{running.stranger.ip()}:{LISTENS_ON}", f"{running.client.ip()}:{LISTENS_ON}"]
    assert set(running.client.reach(*closed[:2]).values()) == {"open"}, "they are there, for others"
    opened = [f"{host(world, '-db')}:5432", f"{host(world, '-cache')}:6379"]
    found = world.python(f"deploy/{SERVICE}", REACH, [*opened, *closed])
    assert found == {**dict.fromkeys(opened, "open"), **dict.fromkeys(closed, "TimeoutError")}


def test_an_api_pod_resolves_names(running: Running) -> None:
    world = running.world
    known, unknown = host(world, "-db"), host(world, "-nothing")
    found = world.python(f"deploy/{SERVICE}", NAMES, [known, unknown])
    (service,) = (s for s in running.client.names(known).values())
    assert found == {known: service, unknown: ["gaierror"]}


@pytest.mark.parametrize("component", ["db", "cache"])
def test_a_store_reaches_nothing(running: Running, component: str) -> None:
    """By the shell's own sockets: the stores' images have no Python."""
    world = running.world
    tried = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{running.stranger.ip()}/{LISTENS_ON}' && echo open || echo closed"
    said = world.kubectl("exec", f"{SERVICE}-{component}-0", "--", "bash", "-c", tried)
    assert said.strip() == "closed"
    own = "5432" if component == "db" else "6379"
    tried = f"timeout 3 bash -c 'exec 3<>/dev/tcp/127.0.0.1/{own}' && echo open || echo closed"
    said = world.kubectl("exec", f"{SERVICE}-{component}-0", "--", "bash", "-c", tried)
    assert said.strip() == "open", "the same way of trying opens what is there"
