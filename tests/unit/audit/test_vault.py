"""What is sealed opens for its tenant, in its place, with its key, and not otherwise."""

import base64
import multiprocessing
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shieldx_runtime.core import vault
from shieldx_runtime.core.vault import (
    DataKey,
    KeyWornOutError,
    MasterKeys,
    TamperedError,
    VaultError,
    WrongKeyError,
    new_data_key,
    parse_master_keys,
)

SECRET = bytes(range(32))
ROW = b"row"
texts = st.text(max_size=600)


def line(key_id: str, secret: bytes) -> str:
    return f"{key_id} {base64.b64encode(secret).decode()}"


def key(tenant_id: str = "org-1", key_id: str = "0123456789abcdef", secret: bytes = SECRET, **more: Any) -> DataKey:
    return DataKey(tenant_id, key_id, secret, **more)


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_every_text_comes_back(text: str) -> None:
    sealed = key().seal("description", ROW, text)
    assert key().open("description", ROW, sealed) == text
    assert vault.key_id_of(sealed) == "0123456789abcdef"


def test_a_sealed_text_shows_nothing_of_it_and_is_never_the_same_twice() -> None:
    one = key()
    sealed = {one.seal("description", ROW, "invoice of Jane Roe") for _ in range(2000)}
    assert len(sealed) == 2000
    nonces = {base64.b64decode(s.split(".")[2])[:12] for s in sealed}
    assert len(nonces) == 2000
    assert not any("Jane" in s for s in sealed)


@pytest.mark.parametrize(
    ("other", "name", "row"),
    [
        (key(tenant_id="org-2"), "description", ROW),
        (key(), "reference", ROW),
        (key(), "description", b"another row"),
        (key(tenant_id="org-1d"), "escription", ROW),
    ],
)
def test_a_text_that_was_moved_does_not_open(other: DataKey, name: str, row: bytes) -> None:
    sealed = key().seal("description", ROW, "text")
    with pytest.raises(TamperedError, match="does not open"):
        other.open(name, row, sealed)


def test_any_changed_character_is_seen() -> None:
    sealed = key().seal("description", ROW, "a text of some length")
    dice = random.Random(7)  # noqa: S311 - repeatable on purpose
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/."
    # the last character has bits that belong to no byte
    for place in range(len(sealed.rstrip("=")) - 1):
        other = dice.choice([c for c in alphabet if c != sealed[place]])
        with pytest.raises((TamperedError, WrongKeyError)):
            key().open("description", ROW, sealed[:place] + other + sealed[place + 1 :])
    with pytest.raises(TamperedError):
        key().open("description", ROW, sealed[:-4])


def test_another_key_is_named_not_tried() -> None:
    sealed = key().seal("description", ROW, "text")
    with pytest.raises(WrongKeyError, match="under data key 0123456789abcdef, not 00000000000000ff"):
        key(key_id="00000000000000ff").open("description", ROW, sealed)
    with pytest.raises(TamperedError):
        key(secret=bytes(32)).open("description", ROW, sealed)


def test_a_key_stops_before_its_nonces_may_meet() -> None:
    worn = key(max_seals=2)
    worn.seal("description", ROW, "1")
    worn.seal("description", ROW, "2")
    with pytest.raises(KeyWornOutError, match="worn out"):
        worn.seal("description", ROW, "3")


def test_a_data_key_opens_under_its_master_tenant_and_id_alone() -> None:
    masters = parse_master_keys(line("m1", SECRET))
    key_id, data_key = new_data_key()
    wrapped = masters.wrap("org-1", key_id, data_key)
    assert masters.unwrap("m1", "org-1", key_id, wrapped) == data_key
    assert data_key not in wrapped
    for tenant_id, other_id in (("org-2", key_id), ("org-1", "f" * 16)):
        with pytest.raises(WrongKeyError, match="does not open under master key 'm1'"):
            masters.unwrap("m1", tenant_id, other_id, wrapped)
    impostor = parse_master_keys(line("m1", bytes(32)))
    with pytest.raises(WrongKeyError, match="another secret has its name"):
        impostor.unwrap("m1", "org-1", key_id, wrapped)
    for place in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[place] ^= 1
        with pytest.raises(WrongKeyError):
            masters.unwrap("m1", "org-1", key_id, bytes(changed))


def test_after_a_rotation_the_old_key_opens_and_the_new_one_wraps() -> None:
    old = parse_master_keys(line("m1", SECRET))
    wrapped = old.wrap("org-1", "0" * 16, b"d" * 32)
    rotated = parse_master_keys("# newest first\n" + line("m2", bytes(32)) + "\n\n" + line("m1", SECRET) + "\n")
    assert rotated.active_id == "m2"
    assert rotated.unwrap("m1", "org-1", "0" * 16, wrapped) == b"d" * 32
    again = rotated.wrap("org-1", "0" * 16, b"d" * 32)
    with pytest.raises(WrongKeyError, match=r"not among \['m1'\]: put it back"):
        old.unwrap("m2", "org-1", "0" * 16, again)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it has 0 master keys"),
        ("# nothing", "it has 0 master keys"),
        ("m1", "line 1 is not"),
        (line("m1", SECRET[:31]), "line 1 is not"),
        (line("m 1", SECRET), "line 1 is not"),
        (line("m1", SECRET) + "\nm2 !!!!", "line 2 is not"),
        (line("m1", SECRET) + "\n" + line("m1", bytes(32)), "line 2 has key id 'm1' a second time"),
        ("\n".join(line(f"m{n}", SECRET) for n in range(33)), "it has 33 master keys"),
    ],
)
def test_a_file_of_master_keys_that_is_of_no_use_says_which_line(text: str, problem: str) -> None:
    with pytest.raises(VaultError, match=problem) as caught:
        parse_master_keys(text)
    assert base64.b64encode(SECRET).decode() not in str(caught.value)


def test_no_secret_is_in_the_words_for_an_object() -> None:
    masters = parse_master_keys(line("m1", SECRET))
    assert isinstance(masters, MasterKeys)
    assert str(SECRET) not in repr(masters)
    assert "m1" in repr(masters)


@settings(max_examples=100, deadline=None)
@given(text=texts | st.sampled_from(["sxe1.", "sxp1.", "sxp1.sxe1.x", f"sxe1.{'0' * 16}.{'A' * 40}"]))
def test_a_text_without_a_vault_comes_back_and_is_never_taken_for_a_sealed_one(text: str) -> None:
    stored = vault.store_plain(text)
    assert vault.read_plain(stored) == text
    assert vault.key_id_of(stored) is None


def test_secrets_are_compared() -> None:
    assert vault.same_secret(b"same", b"same")
    assert not vault.same_secret(b"same", b"sama")


def test_a_master_key_may_be_written_as_the_operator_writes_random_values() -> None:
    secret = b"\xfb\xff" * 16
    for text in (base64.b64encode(secret), base64.urlsafe_b64encode(secret).rstrip(b"=")):
        assert parse_master_keys(f"k1 {text.decode()}").keys["k1"] == secret


def test_a_system_that_once_has_no_randomness_fails_one_seal_and_no_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: int) -> bytes:
        raise OSError("no randomness")

    vault._renew_nonces()
    with monkeypatch.context() as patch:
        patch.setattr("os.urandom", none)
        with pytest.raises(OSError, match="no randomness"):
            key().seal("description", ROW, "text")
    assert key().open("description", ROW, key().seal("description", ROW, "text")) == "text"


def _nonces(count: int) -> set[str]:
    key = DataKey("org-1", "0123456789abcdef", SECRET)
    return {key.seal("reference", ROW, "text").split(".")[2][:16] for _ in range(count)}


def test_a_forked_child_uses_no_nonce_that_its_parent_would() -> None:
    # the parent has some in stock
    _nonces(1)
    with multiprocessing.get_context("fork").Pool(1) as child:
        theirs = child.apply(_nonces, (50,))
    assert len(theirs) == 50
    assert theirs.isdisjoint(_nonces(200))
