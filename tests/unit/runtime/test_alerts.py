"""Where alerts may be sent, how they are signed, and when they are tried again."""

import base64
import hashlib
import hmac
import uuid
from datetime import UTC, datetime

import pytest

from shieldx_runtime.credits.alerts import (
    MAX_ATTEMPTS,
    Alert,
    BadWebhookError,
    check_url,
    is_public,
    pause_s,
    secret_of,
    signed,
)

PEPPER = b"pepper" * 4


@pytest.mark.parametrize(
    "url",
    ["https://example.com/hook", "https://example.com:8443/a?b=c", "https://8.8.8.8/", "https://[2606:4700::1111]/x"],
)
def test_https_to_a_public_host_is_taken(url: str) -> None:
    assert check_url(url, frozenset())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "http://example.com/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https://user:password@example.com/",
        "https://example.com/#fragment",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com/\r\nhost: x",
        "https://example.com\\@127.0.0.1/",
        "https://ex\u00e4mple.com/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b:1::7f00:1]/",
        "https://[::127.0.0.1]/",
        "https://[::ffff:0:10.0.0.1]/",
        "https://[fec0::1]/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
    ],
)
def test_whatever_else_is_refused(url: str) -> None:
    with pytest.raises(BadWebhookError, match=r": (send|have)|: .*send"):
        check_url(url, frozenset())


def test_a_host_that_was_allowed_may_be_inside_and_unencrypted() -> None:
    allowed = frozenset({"hooks.internal", "127.0.0.1"})
    assert check_url("http://hooks.internal:8080/x", allowed) == "hooks.internal"
    assert check_url("http://127.0.0.1:9/", allowed) == "127.0.0.1"
    assert check_url("http://HOOKS.internal/", allowed) == "hooks.internal"
    with pytest.raises(BadWebhookError):
        check_url("http://other.hooks.internal/", allowed)
    with pytest.raises(BadWebhookError):
        check_url("ftp://hooks.internal/", allowed)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "100.64.0.1", "::1", "fd00::1", "x", ""])
def test_an_address_inside_of_a_network_is_not_public(address: str) -> None:
    assert not is_public(address)


def test_the_signature_is_of_standard_webhooks() -> None:
    at = datetime(2030, 1, 31, 12, tzinfo=UTC)
    alert_id = uuid.uuid4()
    secret = secret_of(PEPPER, "org-1", 1)
    fields = signed(secret, alert_id, b'{"a":1}', at)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    said = f'{alert_id}.{int(at.timestamp())}.{{"a":1}}'.encode()
    expected = base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
    assert fields == {
        "webhook-id": str(alert_id),
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": f"v1,{expected}",
    }


def test_each_tenant_and_each_version_has_its_own_secret() -> None:
    secrets = {secret_of(PEPPER, tenant, version) for tenant in ("org-1", "org-2", "1|org-1") for version in (1, 2)}
    assert len(secrets) == 6
    assert secret_of(PEPPER, "org-1", 1) != secret_of(b"other" * 4, "org-1", 1)


def test_pauses_grow_have_full_jitter_a_bound_and_an_end() -> None:
    for attempts in range(1, MAX_ATTEMPTS):
        bound = min(3600, 2 * 2 ** (attempts - 1))
        pauses = [pause_s(attempts) for _ in range(200)]
        assert all(pause is not None and 0 <= pause <= bound for pause in pauses)
        assert max(p for p in pauses if p is not None) > bound * 0.8
        assert min(p for p in pauses if p is not None) < bound * 0.2
    assert pause_s(MAX_ATTEMPTS) is None


def test_the_body_says_what_happened() -> None:
    alert_id = uuid.uuid4()
    alert = Alert(
        alert_id, "org-1", 100, 90, 95, 7, datetime(2030, 1, 31, 12, tzinfo=UTC), 1, "https://example.com/", 1
    )
    assert alert.body().decode() == (
        f'{{"type": "credits.balance_low", "timestamp": "2030-01-31T12:00:00Z", "data": {{"alert_id": "{alert_id}", '
        '"tenant_id": "org-1", "threshold": 100, "available": 90, "balance": 95, "version": 7}}'
    )
