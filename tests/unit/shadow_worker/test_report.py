import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from shieldx_runtime.shadow.cluster.apiserver import Answer, Evaluation, GoneError, Reporter, ReportError

EVALUATION = Evaluation("team", "sqli", "uid-1")
ENTRY = {"index": 3, "digest": "0123456789"}
OK = Answer(200, b"{}")
REFUSED = Answer(422, json.dumps({"message": "status.shards[0].index: Invalid value"}).encode())
BUSY = Answer(503, b"busy")
AWAY = ConnectionRefusedError("refused")


@dataclass
class Server:
    """Answers in turn, the last one for ever; time passes only while the reporter sleeps."""

    answers: list[Answer | Exception]
    calls: list[tuple[str, Any]] = field(default_factory=list)
    now_s: float = 0.0

    def __call__(self, path: str, body: bytes) -> Answer:
        self.calls.append((path, json.loads(body)))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def reporter(server: Server, **options: Any) -> Reporter:
    return Reporter(
        server,
        EVALUATION,
        lambda *_, **__: None,
        clock=lambda: server.now_s,
        sleep=server.sleep,
        random=lambda: 0.5,
        **options,
    )


def test_a_shard_is_applied_to_the_status_of_its_own_object_under_its_own_manager() -> None:
    server = Server([OK])
    reporter(server).report(3, ENTRY)
    path, body = server.calls[0]
    assert path == (
        "/apis/platform.shieldx.io/v1alpha1/namespaces/team/shadowevaluations/sqli/status"
        "?fieldManager=shieldx-shadow-worker-3&force=true"
    )
    assert body["metadata"] == {"namespace": "team", "name": "sqli", "uid": "uid-1"}
    assert body["status"] == {"shards": [ENTRY]}


@pytest.mark.parametrize("trouble", [AWAY, TimeoutError("slow"), BUSY, Answer(429, b""), Answer(401, b"")])
def test_a_server_that_is_away_for_twenty_seconds_loses_no_shard(trouble: Answer | Exception) -> None:
    server = Server([trouble])
    told = reporter(server)

    def back_after_20_s(path: str, body: bytes) -> Answer:
        return OK if server.now_s >= 20 else server(path, body)

    Reporter(back_after_20_s, EVALUATION, told.log, clock=told.clock, sleep=told.sleep, random=told.random).report(
        3, ENTRY
    )
    assert 20 <= server.now_s < 30
    assert len(server.calls) < 15


def test_tries_end_with_the_budget_and_say_what_was_wrong() -> None:
    server = Server([AWAY])
    with pytest.raises(ReportError, match=r"cannot be reached: ConnectionRefusedError.*tried for 60 s") as caught:
        reporter(server, budget_s=60).report(3, ENTRY)
    assert not caught.value.final
    assert server.now_s <= 60


def test_a_refusal_is_final_and_in_the_servers_own_words() -> None:
    server = Server([REFUSED])
    with pytest.raises(ReportError, match=r"422: status.shards\[0\].index: Invalid value") as caught:
        reporter(server).report(3, ENTRY)
    assert caught.value.final
    assert len(server.calls) == 1


@pytest.mark.parametrize("status", [404, 409])
def test_nothing_is_told_to_an_evaluation_that_is_gone_or_another(status: int) -> None:
    server = Server([Answer(status, b"")])
    with pytest.raises(GoneError):
        reporter(server).report(3, ENTRY)
    assert len(server.calls) == 1


def test_a_role_that_is_a_moment_old_is_waited_for() -> None:
    server = Server([Answer(403, b"no"), Answer(403, b"no"), OK])
    reporter(server).report(3, ENTRY)
    assert len(server.calls) == 3


def test_a_refusal_for_want_of_permission_ends_after_some_tries() -> None:
    server = Server([Answer(403, b"no")])
    with pytest.raises(ReportError, match="403") as caught:
        reporter(server).report(3, ENTRY)
    assert caught.value.final
    assert 20 <= server.now_s < 30


def test_the_server_says_how_long_to_wait_within_bounds() -> None:
    server = Server([Answer(429, b"", retry_after_s=3), Answer(429, b"", retry_after_s=9999), OK])
    reporter(server).report(3, ENTRY)
    assert server.now_s == pytest.approx(3 + 5)
