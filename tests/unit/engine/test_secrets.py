import base64
from collections.abc import Callable
from typing import Any

import pytest

from shieldx_operator.engine.secrets import decoded, materialize
from shieldx_operator.engine.types import GeneratedSecret

META = {"name": "s", "namespace": "n"}


LISTED = {"master-1": b"", "master-2": b"two", "master-10": b"ten", "master-x": b"no", "masters": b"stale"}


def counted() -> Callable[[int], bytes]:
    """Bytes that tell how often they were asked for."""
    calls = iter(range(1, 100))
    return lambda size: bytes([next(calls)] * size)


def made(wanted: GeneratedSecret, existing: dict[str, Any] | None = None) -> dict[str, str]:
    return decoded(materialize(wanted, existing, counted()))


def holding(**values: str) -> dict[str, Any]:
    return {"data": {k.replace("_", "-"): base64.b64encode(v.encode()).decode() for k, v in values.items()}}


def test_values_are_drawn_as_base64url_without_padding_or_as_hexadecimal() -> None:
    values = made(GeneratedSecret(META, random={"password": 4, "id": -3}))
    assert values == {"password": "AQEBAQ", "id": "020202"}


def test_an_existing_value_is_kept() -> None:
    values = made(GeneratedSecret(META, random={"password": 4, "new": 4}), holding(password="old"))
    assert values == {"password": "old", "new": "AQEBAQ"}


def test_a_key_to_renew_is_drawn_again() -> None:
    values = made(GeneratedSecret(META, random={"a": 3, "b": 3}, renew=frozenset({"a"})), holding(a="1", b="2"))
    assert values == {"a": "AQEB", "b": "2"}


def test_a_derived_value_follows_the_others() -> None:
    wanted = GeneratedSecret(META, random={"admin-key": 3}, derived={"uri": "postgresql://u:{admin-key}@h/{{x}}"})
    assert made(wanted)["uri"] == "postgresql://u:AQEB@h/{x}"
    assert made(wanted, holding(uri="stale", admin_key="k"))["uri"] == "postgresql://u:k@h/{x}"


def test_a_list_has_each_numbered_value_the_highest_first_and_no_empty_one() -> None:
    wanted = GeneratedSecret(META, random={"master-1": 3}, listed={"masters": ("master-", "k{0} {1}\n")})
    assert made(wanted) == {"master-1": "AQEB", "masters": "k1 AQEB\n"}
    there = {"data": {k: base64.b64encode(v).decode() for k, v in LISTED.items()}}
    assert made(wanted, there)["masters"] == "k10 ten\nk2 two\n"
    assert made(wanted, there)["master-1"] == ""


def test_a_derived_value_cannot_reach_into_a_value() -> None:
    with pytest.raises(ValueError, match=r"derived key 'uri' of a generated Secret names 'a\.__class__'"):
        made(GeneratedSecret(META, random={"a": 3}, derived={"uri": "{a.__class__}"}))


def test_a_rotation_carries_the_present_value_before_it_is_renewed() -> None:
    wanted = GeneratedSecret(META, random={"key": 3}, renew=frozenset({"key"}), carry={"previous": "key"})
    assert made(wanted, holding(key="one")) == {"previous": "one", "key": "AQEB"}


def test_nothing_is_carried_where_there_is_nothing() -> None:
    assert made(GeneratedSecret(META, random={"key": 3}, carry={"previous": "key"})) == {"key": "AQEB"}


def test_a_carried_key_stays_until_it_is_carried_from_nothing() -> None:
    after_rotation = holding(key="two", previous="one")
    assert made(GeneratedSecret(META, random={"key": 3}), after_rotation) == {"key": "two", "previous": "one"}
    let_go = GeneratedSecret(META, random={"key": 3}, carry={"previous": "no-such-key"})
    assert made(let_go, after_rotation) == {"key": "two"}


def test_the_secret_has_the_type_and_metadata_that_were_asked_for() -> None:
    secret = materialize(GeneratedSecret(META, random={}, type="kubernetes.io/basic-auth"), None, counted())
    assert (secret["type"], secret["metadata"], secret["kind"]) == ("kubernetes.io/basic-auth", META, "Secret")
