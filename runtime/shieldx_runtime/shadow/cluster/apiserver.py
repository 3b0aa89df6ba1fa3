"""One call, made well: this shard's entry into the status of its evaluation, by server-side apply.

Standard library only: a worker is a cold process whose whole work may last a tenth of a second, and a client of
Kubernetes takes longer than that to import. The token is read anew for each try, because the kubelet renews it.
"""

import http.client
import json
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode

from shieldx_contract import API_GROUP, SHADOW_EVALUATIONS, SHADOW_FIELD_MANAGER

ACCOUNT_DIR: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CALL_TIMEOUT_S: Final = 10.0
BUDGET_S: Final = 120.0
"""How long one report is tried: an API server that restarts or moves is back well within it."""
_FIRST_DELAY_S: Final = 0.25
_LONGEST_DELAY_S: Final = 5.0
_FORBIDDEN_FOR_S: Final = 20.0
"""A Role that was made a moment ago is not known to every API server at once."""
_MAX_ANSWER_BYTES: Final = 1 << 20
_MAX_SAID_CHARS: Final = 500
_APPLY: Final = "application/apply-patch+yaml"


class ReportError(Exception):
    """The shard could not be reported. `final` tells that no repetition of the work would change it."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


class GoneError(Exception):
    """Nobody asks any more: the evaluation was deleted, or another of its name has taken its place."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The object whose question this is; its `uid` tells it from a later one of the same name."""

    namespace: str
    name: str
    uid: str

    def path(self, index: int) -> str:
        """Path and query of an apply of the entry of shard `index`, under a field manager of its own."""
        query = urlencode({"fieldManager": f"{SHADOW_FIELD_MANAGER}-{index}", "force": "true"})
        namespace, name = quote(self.namespace, safe=""), quote(self.name, safe="")
        return f"/apis/{API_GROUP}/v1alpha1/namespaces/{namespace}/{SHADOW_EVALUATIONS}/{name}/status?{query}"

    def body(self, entry: Mapping[str, Any]) -> bytes:
        return json.dumps(
            {
                "apiVersion": f"{API_GROUP}/v1alpha1",
                "kind": "ShadowEvaluation",
                "metadata": {"namespace": self.namespace, "name": self.name, "uid": self.uid},
                "status": {"shards": [dict(entry)]},
            },
            separators=(",", ":"),
        ).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said. `retry_after_s` is what it asked for, if it did."""

    status: int
    body: bytes
    retry_after_s: float | None = None

    def said(self) -> str:
        """The server's sentence."""
        try:
            message = json.loads(self.body).get("message")
        except (ValueError, AttributeError):
            message = None
        return str(message or self.body[:_MAX_SAID_CHARS].decode(errors="replace"))[:_MAX_SAID_CHARS]


class Transport(Protocol):
    """Sends one PATCH.

    Raises:
        OSError: no connection, no TLS, or no answer in time.
        http.client.HTTPException: what answered is no HTTP.
    """

    def __call__(self, path: str, body: bytes) -> Answer: ...


@dataclass(frozen=True, slots=True)
class PodTransport:
    """HTTPS to the API server as a pod does it: the account's token and the cluster's authority."""

    host: str
    port: int
    account_dir: Path = ACCOUNT_DIR
    timeout_s: float = CALL_TIMEOUT_S

    def __call__(self, path: str, body: bytes) -> Answer:
        context = ssl.create_default_context(cafile=str(self.account_dir / "ca.crt"))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        token = (self.account_dir / "token").read_text(encoding="ascii").strip()
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=self.timeout_s, context=context)
        try:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": _APPLY, "Accept": "application/json"}
            connection.request("PATCH", path, body, headers)
            response = connection.getresponse()
            asked = response.getheader("Retry-After") or ""
            return Answer(response.status, response.read(_MAX_ANSWER_BYTES), float(asked) if asked.isdigit() else None)
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Reporter:
    """Tells shards, again and again within `budget_s` where the API server is away or busy."""

    transport: Transport
    evaluation: Evaluation
    log: Callable[..., None]
    budget_s: float = BUDGET_S
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random

    def report(self, index: int, entry: Mapping[str, Any]) -> None:
        """Write the entry of shard `index`. Writing it twice is writing it once.

        Raises:
            GoneError: the evaluation is not there any more.
            ReportError: the API server refused it, or did not answer within the budget.
        """
        path, body = self.evaluation.path(index), self.evaluation.body(entry)
        started_s = self.clock()
        delay_s = _FIRST_DELAY_S
        while True:
            asked_s = None
            try:
                answer = self.transport(path, body)
            except (OSError, http.client.HTTPException) as error:
                problem = f"the API server cannot be reached: {type(error).__name__}: {error}"
            else:
                if answer.status < HTTPStatus.MULTIPLE_CHOICES:
                    return
                problem = f"the API server answered {answer.status}: {answer.said()}"
                self._give_up_where_final(answer, problem, self.clock() - started_s)
                asked_s = answer.retry_after_s
            # half to one and a half of the delay, so that the workers of a Job do not come back all at once
            wait_s = max(delay_s * (0.5 + self.random()), min(asked_s or 0.0, _LONGEST_DELAY_S))
            if self.clock() - started_s + wait_s > self.budget_s:
                raise ReportError(f"{problem} (tried for {self.budget_s:g} s)", final=False)
            self.log("report is repeated", shard=index, problem=problem, in_s=round(wait_s, 2))
            self.sleep(wait_s)
            delay_s = min(delay_s * 2, _LONGEST_DELAY_S)

    def _give_up_where_final(self, answer: Answer, problem: str, waited_s: float) -> None:
        """Raises where a repetition cannot help."""
        if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            raise GoneError(problem)
        if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS):
            return
        if answer.status == HTTPStatus.FORBIDDEN and waited_s < _FORBIDDEN_FOR_S:
            return
        if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise ReportError(problem, final=True)
