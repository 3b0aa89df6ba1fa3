"""Calls to the API server as any HTTP client makes them."""

import json
from typing import Any

import pykube
import requests

from shieldx_operator.engine.types import Obj

CALL_TIMEOUT_S = 20


class Calls:
    """What has a client of the API server."""

    client: pykube.HTTPClient

    def call(self, method: str, path: str, body: Obj | None = None, **options: Any) -> requests.Response:
        """`options`: those of `requests`, and the `content_type` of the body."""
        content_type = options.pop("content_type", "application/json")
        answer: requests.Response = self.client.session.request(
            method,
            self.client.url + path,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
            timeout=CALL_TIMEOUT_S,
            **options,
        )
        return answer


def body_of(answer: requests.Response) -> Obj:
    """Raises: AssertionError: the call was refused."""
    assert answer.ok, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text[:1000]}"
    body: Obj = answer.json()
    return body
