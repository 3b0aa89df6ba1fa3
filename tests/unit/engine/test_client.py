import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from bench.operator.widget import CONFIG_MAPS
from shieldx_operator.engine.client import NAMESPACE_TERMINATING, ApiError, Client, FencedError, path_of
from shieldx_operator.engine.metrics import Metrics
from shieldx_operator.engine.types import Query, Ref, Resource

REF = Ref(CONFIG_MAPS, "n", "c")


@dataclass
class Server:
    """Stands for `kubernetes.aio`: answers one call after the other."""

    answers: list[Any]
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    configuration: Any = field(default_factory=lambda: SimpleNamespace(host="https://api"))

    async def update_params_for_auth(self, *_: Any) -> None:
        return

    async def call_api(self, method: str, url: str, *, header_params: Any, body: Any, _request_timeout: float) -> Any:  # noqa: ARG002 - as the library calls it
        self.asked.append((method, url, body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, content, headers = answer

        async def read() -> bytes:
            return json.dumps(content).encode()

        return SimpleNamespace(status=status, headers=headers, read=read)


def ok(content: Any = None) -> tuple[int, Any, dict[str, str]]:
    return 200, content or {}, {}


def refused(status: int, reason: str = "Reason", **headers: str) -> tuple[int, Any, dict[str, str]]:
    sent = {k.replace("_", "-"): v for k, v in headers.items()}
    return status, {"kind": "Status", "reason": reason, "message": "a sentence"}, sent


def client(*answers: Any, slept: list[float] | None = None, fence: Any = lambda: None) -> tuple[Client, Server]:
    async def sleep(delay_s: float) -> None:
        (slept if slept is not None else []).append(delay_s)

    server = Server(list(answers))
    return Client(server, Metrics(), fence=fence, sleep=sleep, random=lambda: 0.5), server  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (CONFIG_MAPS, "/api/v1/namespaces/n/configmaps/c"),
        (Resource("apps", "v1", "Deployment", "deployments"), "/apis/apps/v1/namespaces/n/deployments/c"),
        (Resource("g", "v1", "X", "xs", namespaced=False), "/apis/g/v1/xs/c"),
    ],
)
def test_paths_are_those_of_the_api(resource: Resource, expected: str) -> None:
    assert path_of(resource, "n", "c") == expected


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    assert path_of(CONFIG_MAPS, "n", "../secrets/x") == "/api/v1/namespaces/n/configmaps/..%2Fsecrets%2Fx"


async def test_a_missing_object_is_none() -> None:
    made, _ = client(refused(404, "NotFound"))
    assert await made.get(REF) is None


async def test_a_busy_server_is_asked_again_after_the_time_that_it_names() -> None:
    slept: list[float] = []
    made, server = client(refused(429, Retry_After="3"), refused(503), ok({"a": 1}), slept=slept)
    assert await made.get(REF) == {"a": 1}
    assert slept == [3.0, 0.4]
    assert len(server.asked) == 3


async def test_a_server_that_asks_for_an_hour_is_asked_again_within_bounds() -> None:
    slept: list[float] = []
    made, _ = client(refused(429, Retry_After="3600"), ok(), slept=slept)
    await made.get(REF)
    assert slept == [10.0]


async def test_retries_end() -> None:
    made, server = client(*[refused(500)] * 10)
    with pytest.raises(ApiError, match="Reason: a sentence"):
        await made.get(REF)
    assert len(server.asked) == 4


async def test_an_unreachable_server_is_asked_again() -> None:
    made, _ = client(aiohttp.ClientConnectionError("reset"), ok({"a": 1}))
    assert await made.get(REF) == {"a": 1}


async def test_a_create_is_never_repeated() -> None:
    made, server = client(aiohttp.ClientConnectionError("reset"), ok())
    with pytest.raises(ApiError) as caught:
        await made.create(CONFIG_MAPS, "n", {})
    assert (caught.value.status, caught.value.transient, len(server.asked)) == (0, True, 1)


@pytest.mark.parametrize("status", [400, 403, 409, 422])
async def test_a_refusal_is_not_repeated_and_keeps_the_servers_words(status: int) -> None:
    made, server = client(refused(status, "Invalid"))
    with pytest.raises(ApiError) as caught:
        await made.apply(REF, {})
    assert (caught.value.status, caught.value.reason, caught.value.message) == (status, "Invalid", "a sentence")
    assert len(server.asked) == 1


async def test_a_namespace_that_is_going_is_told_from_a_missing_permission() -> None:
    status, body, headers = refused(403, "Forbidden")
    body["details"] = {"causes": [{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]}
    made, _ = client((status, body, headers), refused(403, "Forbidden"))
    for expected in (NAMESPACE_TERMINATING, "Forbidden"):
        with pytest.raises(ApiError) as caught:
            await made.apply(REF, {})
        assert caught.value.reason == expected


async def test_nothing_is_written_behind_the_fence_and_reading_goes_on() -> None:
    def fence() -> None:
        raise FencedError

    made, server = client(ok(), fence=fence)
    for write in (made.apply(REF, {}), made.delete(REF, "u"), made.create(CONFIG_MAPS, "n", {})):
        with pytest.raises(FencedError):
            await write
    assert server.asked == []
    await made.get(REF)


async def test_the_fence_is_asked_before_each_repetition() -> None:
    passes = iter([True, False])

    def fence() -> None:
        if not next(passes):
            raise FencedError

    made, server = client(refused(503), ok(), fence=fence)
    with pytest.raises(FencedError):
        await made.apply(REF, {})
    assert len(server.asked) == 1


async def test_a_list_goes_through_its_pages_up_to_its_limit() -> None:
    def page(names: str, token: str) -> Any:
        return ok({"items": [{"metadata": {"name": n}} for n in names], "metadata": {"continue": token}})

    made, server = client(page("ab", "t1"), page("cd", "t2"), page("ef", ""))
    found = await made.find(Query(CONFIG_MAPS, "n", label_selector="a=b", limit=3))
    assert [(o["metadata"]["name"], o["kind"]) for o in found] == [(n, "ConfigMap") for n in "abc"]
    assert [url.partition("?")[2] for _, url, _ in server.asked] == [
        "limit=3&labelSelector=a%3Db",
        "limit=3&labelSelector=a%3Db&continue=t1",
    ]


async def test_a_deletion_names_the_uid_and_of_what_is_gone_is_no_error() -> None:
    made, server = client(refused(404, "NotFound"))
    await made.delete(REF, "uid-1")
    assert server.asked[0][2]["preconditions"] == {"uid": "uid-1"}
    assert server.asked[0][2]["propagationPolicy"] == "Background"


async def test_calls_are_counted_by_verb_resource_and_code() -> None:
    made, _ = client(ok(), refused(422))
    await made.get(REF)
    with pytest.raises(ApiError):
        await made.apply_status(REF, "u", {})
    text = made.metrics.text().decode()
    assert 'shieldx_operator_api_calls_total{code="200",resource="configmaps",verb="get"} 1.0' in text
    assert 'shieldx_operator_api_calls_total{code="422",resource="configmaps/status",verb="patch"} 1.0' in text
