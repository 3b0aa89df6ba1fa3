"""Calls to the API server: dictionaries in, dictionaries out.

`kubernetes.aio` gives the connection (kubeconfig, client certificates, the token of a pod and its renewal); its models
are left aside, because they drop fields that they do not know. Every call has a timeout; calls that may be repeated
are, a few times and with jitter, when the server is busy or does not answer.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

import aiohttp
import structlog
from kubernetes.aio.client.api_client import ApiClient

from shieldx_operator.engine.metrics import Metrics
from shieldx_operator.engine.names import FIELD_MANAGER
from shieldx_operator.engine.types import Obj, Query, Ref, Resource

NAMESPACE_TERMINATING: Final = "NamespaceTerminating"
Verb = Literal["get", "list", "create", "update", "patch", "delete"]

CALL_TIMEOUT_S: Final = 15.0
MAX_ATTEMPTS: Final = 4
MAX_CONCURRENT: Final = 32
PAGE_SIZE: Final = 500
MAX_PAGES: Final = 2000
_FIRST_DELAY_S: Final = 0.2
_MAX_RETRY_AFTER_S: Final = 10.0
_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

_METHODS: Final[Mapping[Verb, str]] = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
}
_log = structlog.get_logger(__name__)


class ApiError(Exception):
    """The API server refused a call, or did not answer (`status` 0).

    `reason` is the server's word (NotFound, Invalid, Forbidden, ...), `message` its sentence. A refusal to create
    anything in a namespace that is being deleted has the reason NAMESPACE_TERMINATING, which the server calls a cause.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def transient(self) -> bool:
        """Nothing is wrong with the call: the server is busy, broken or out of reach."""
        return self.status in (0, HTTPStatus.TOO_MANY_REQUESTS) or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def answered(self) -> bool:
        return self.status != 0


class FencedError(Exception):
    """This process may not write any more: its lease may have been taken by another."""


def path_of(resource: Resource, namespace: str, name: str = "", subresource: str = "") -> str:
    """The URL path of a resource or an object, such as /apis/apps/v1/namespaces/a/deployments/b/status."""
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    parts = [root]
    if resource.namespaced and namespace:
        parts.append(f"namespaces/{quote(namespace, safe='')}")
    parts.append(resource.plural)
    parts += [quote(part, safe="") for part in (name, subresource) if part]
    return "/".join(parts)


@dataclass(frozen=True, slots=True)
class _Request:
    """One call, before it is sent. `what` is its resource as metrics and logs name it."""

    verb: Verb
    what: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Obj | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        return self.verb not in ("get", "list")

    @property
    def repeatable(self) -> bool:
        """A POST whose answer was lost may have made an object."""
        return self.verb != "create"


@dataclass(slots=True)
class Client:
    """One connection to the API server. `fence` is asked before each write and raises FencedError if it must not be.

    Every method raises ApiError if the server refuses or does not answer.
    """

    api: ApiClient
    metrics: Metrics
    fence: Callable[[], None] = lambda: None
    timeout_s: float = CALL_TIMEOUT_S
    attempts: int = MAX_ATTEMPTS
    max_concurrent: int = MAX_CONCURRENT
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = random.random
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.max_concurrent)

    async def get(self, ref: Ref) -> Obj | None:
        """The object, or None if it does not exist."""
        try:
            return await self._call(_Request("get", ref.resource.plural, _path(ref)))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    async def find(self, query: Query) -> list[Obj]:
        """At most `query.limit` objects that the query selects."""
        items: list[Obj] = []
        try:
            async for page in self._pages(query, {}):
                items += page
                if len(items) >= query.limit:
                    break
        except ApiError as error:
            if not query.optional or error.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.BAD_REQUEST):
                raise
        return items[: query.limit]

    async def all_metadata(self, resource: Resource, namespace: str = "") -> AsyncIterator[Obj]:
        """Metadata of all objects, page by page; an empty namespace is the whole cluster."""
        query = Query(resource, namespace, limit=PAGE_SIZE)
        async for page in self._pages(query, {"Accept": _METADATA_ONLY}):
            for item in page:
                yield item["metadata"]

    async def _pages(self, query: Query, headers: Mapping[str, str]) -> AsyncIterator[list[Obj]]:
        params = {"limit": str(min(query.limit, PAGE_SIZE))}
        if query.label_selector:
            params["labelSelector"] = query.label_selector
        if query.field_selector:
            params["fieldSelector"] = query.field_selector
        path = path_of(query.resource, query.namespace)
        for _ in range(MAX_PAGES):
            answer = await self._call(_Request("list", query.resource.plural, path, params, headers=headers))
            items = answer.get("items") or []
            for item in items:
                item.setdefault("apiVersion", query.resource.api_version)
                item.setdefault("kind", query.resource.kind)
            yield items
            token = answer.get("metadata", {}).get("continue")
            if not token:
                return
            params = {**params, "continue": token}

    async def apply(
        self, ref: Ref, body: Obj, *, manager: str = FIELD_MANAGER, force: bool = True, dry_run: bool = False
    ) -> Obj:
        """Server-side apply; the object as it is then."""
        params = {"fieldManager": manager, "force": "true" if force else "false"}
        if dry_run:
            params["dryRun"] = "All"
        headers = {"Content-Type": _APPLY}
        return await self._call(_Request("patch", ref.resource.plural, _path(ref), params, body, headers))

    async def apply_status(self, ref: Ref, uid: str, status: Obj) -> Obj:
        """Server-side apply of the whole status; refused if the object is not the one of that uid any more."""
        body = {
            "apiVersion": ref.resource.api_version,
            "kind": ref.resource.kind,
            "metadata": {"name": ref.name, "namespace": ref.namespace, "uid": uid},
            "status": status,
        }
        params = {"fieldManager": FIELD_MANAGER, "force": "true"}
        headers = {"Content-Type": _APPLY}
        what = f"{ref.resource.plural}/status"
        return await self._call(_Request("patch", what, _path(ref, "status"), params, body, headers))

    async def set_finalizers(self, ref: Ref, finalizers: Sequence[str], resource_version: str) -> Obj:
        """Replace the finalizers of an object that is still at `resource_version`; else ApiError with status 409."""
        body = {"metadata": {"finalizers": list(finalizers), "resourceVersion": resource_version}}
        params = {"fieldManager": FIELD_MANAGER}
        headers = {"Content-Type": _MERGE}
        return await self._call(_Request("patch", ref.resource.plural, _path(ref), params, body, headers))

    async def create(self, resource: Resource, namespace: str, body: Obj) -> Obj:
        """POST, tried once; ApiError with status 409 if the object exists already."""
        params = {"fieldManager": FIELD_MANAGER}
        return await self._call(_Request("create", resource.plural, path_of(resource, namespace), params, body))

    async def replace(self, ref: Ref, body: Obj) -> Obj:
        """PUT; ApiError with status 409 if the object is not at the body's resourceVersion any more."""
        params = {"fieldManager": FIELD_MANAGER}
        return await self._call(_Request("update", ref.resource.plural, _path(ref), params, body))

    async def delete(self, ref: Ref, uid: str) -> None:
        """Delete the object of that uid, and in the background what it owns; no error if it is gone.

        ApiError with status 409 if another object has the name now.
        """
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        try:
            await self._call(_Request("delete", ref.resource.plural, _path(ref), body=body))
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def _call(self, request: _Request) -> Obj:
        attempts = self.attempts if request.repeatable else 1
        for attempt in range(1, attempts + 1):
            if request.writes:
                self.fence()
            try:
                async with self._slots:
                    return await self._once(request)
            except ApiError as error:
                if not error.transient or attempt == attempts:
                    raise
                _log.info("repeats a call", verb=request.verb, resource=request.what, reason=error.reason)
                await self.sleep(self._delay_s(attempt, error.retry_after_s))
        raise AssertionError("the loop above returns or raises")

    def _delay_s(self, attempt: int, asked_s: float | None) -> float:
        delay_s = _FIRST_DELAY_S * float(2 ** (attempt - 1)) * (0.5 + self.random())
        return max(delay_s, min(asked_s, _MAX_RETRY_AFTER_S)) if asked_s is not None else delay_s

    async def _once(self, request: _Request) -> Obj:
        started_s = time.perf_counter()
        code = "error"
        method = _METHODS[request.verb]
        url = self.api.configuration.host + request.path
        if request.params:
            url += f"?{urlencode(request.params)}"
        headers = {"Accept": "application/json", "Content-Type": "application/json", **request.headers}
        try:
            async with asyncio.timeout(self.timeout_s):
                await self.api.update_params_for_auth(headers, [], ["BearerToken"], url, method, request.body)
                answer = await self.api.call_api(
                    method, url, header_params=headers, body=request.body, _request_timeout=self.timeout_s
                )
                data: bytes = await answer.read()  # type: ignore[no-untyped-call]
            code = str(answer.status)
        except TimeoutError:
            message = f"the API server did not answer within {self.timeout_s:g} s"
            raise ApiError(0, "Timeout", message) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ApiError(0, "Unreachable", f"the API server cannot be reached: {error}") from error
        finally:
            self.metrics.api_calls.labels(request.verb, request.what, code).inc()
            self.metrics.api_call_duration_s.labels(request.verb).observe(time.perf_counter() - started_s)
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise _refusal(answer.status, data, answer.headers.get("Retry-After"))
        parsed: Obj = json.loads(data)
        return parsed


def _path(ref: Ref, subresource: str = "") -> str:
    return path_of(ref.resource, ref.namespace, ref.name, subresource)


def _refusal(status: int, data: bytes, retry_after: str | None) -> ApiError:
    try:
        body: Any = json.loads(data)
    except ValueError:
        body = {}
    if not isinstance(body, dict) or body.get("kind") != "Status":
        body = {}
    details = body.get("details") or {}
    asked = retry_after or details.get("retryAfterSeconds")
    try:
        asked_s = float(asked) if asked is not None else None
    except ValueError:
        asked_s = None
    reason = body.get("reason") or f"HTTP{status}"
    if any(cause.get("reason") == NAMESPACE_TERMINATING for cause in details.get("causes") or ()):
        reason = NAMESPACE_TERMINATING
    message = body.get("message") or data[:200].decode(errors="replace") or f"HTTP status {status}"
    return ApiError(status, reason, message, retry_after_s=asked_s)
