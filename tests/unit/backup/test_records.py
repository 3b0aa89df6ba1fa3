"""Keys, manifests, snapshots and settings: pure parts."""

import base64
import json
from pathlib import Path

import pytest

from shieldx_runtime.backup import keys, settings
from shieldx_runtime.backup.errors import DamagedError, SettingError, WrongKeyError
from shieldx_runtime.backup.folder import Folder
from shieldx_runtime.backup.keys import KeyRing
from shieldx_runtime.backup.manifest import Artifact, AuditHead, Manifest, Stream, decode, encode
from shieldx_runtime.backup.postgres import Address, server_newer_than_tool
from shieldx_runtime.backup.segments import apply
from shieldx_runtime.backup.snapshots import covers
from shieldx_runtime.core.ledger import Change, Checkpoint, Position

MANIFEST = Manifest(
    service="ns.name",
    stream=Stream.DATABASE,
    backup_id="20261124T120000Z-00000000",
    taken_at="2026-11-24T12:00:00.000Z",
    finished_at="2026-11-24T12:01:00.000Z",
    key_id="new",
    artifacts=(Artifact("database.dump", 10, "a" * 64, 20, "b" * 64),),
    rows={"credits.accounts": 3},
    checkpoint=Checkpoint(1, 2, "c" * 64),
    audit_head=AuditHead("00000001", 7),
)


def test_a_manifest_comes_back_as_it_was(ring: KeyRing) -> None:
    assert decode(encode(MANIFEST, ring.active), ring) == MANIFEST


def test_a_changed_manifest_is_not_authentic(ring: KeyRing) -> None:
    document = json.loads(encode(MANIFEST, ring.active))
    document["rows"]["credits.accounts"] = 4
    with pytest.raises(DamagedError, match="its MAC under key 'new' is another one"):
        decode(json.dumps(document).encode(), ring)


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_a_manifest_that_was_cut_off_is_none(ring: KeyRing, cut: int) -> None:
    with pytest.raises(DamagedError):
        decode(encode(MANIFEST, ring.active)[:cut], ring)


def test_a_manifest_of_a_missing_key_names_it(ring: KeyRing) -> None:
    other = KeyRing({"old": ring.keys["old"]}, "old")
    with pytest.raises(WrongKeyError, match="key 'new' sealed this copy"):
        decode(encode(MANIFEST, ring.active), other)


@pytest.mark.parametrize(
    ("later", "earlier", "expected"),
    [
        ("10:20:", "5:15:", True),
        ("5:15:", "10:20:", False),
        ("10:20:", "10:20:", True),
        ("10:20:", "10:20:12", True),
        ("10:20:12", "10:20:", False),
        ("10:20:12", "10:20:12,13", True),
    ],
)
def test_one_snapshot_covers_another(later: str, earlier: str, *, expected: bool) -> None:
    assert covers(later, earlier) is expected


def test_a_position_follows_changes_and_forgets_what_is_gone() -> None:
    position: Position = {"ledger": {"a": "1:x"}}
    apply(position, [Change("ledger", {"a": "2:y", "b": "1:z"}, ()), Change("accounts", {"[1]": "m"}, ())])
    apply(position, [Change("accounts", {"[1]": None}, ())])
    assert position == {"ledger": {"a": "2:y", "b": "1:z"}, "accounts": {}}


def secret(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(base64.b64encode(data) + b"\n")


def test_one_key_needs_no_naming_and_the_mount_s_own_links_are_passed_over(tmp_path: Path) -> None:
    secret(tmp_path, "k1", bytes(32))
    (tmp_path / "..data").mkdir()
    assert keys.load(tmp_path).active_id == "k1"


def test_keys_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="holds no key"):
        keys.load(tmp_path)
    secret(tmp_path, "k1", bytes(32))
    secret(tmp_path, "k2", bytes(32))
    with pytest.raises(SettingError, match="there are 2 keys"):
        keys.load(tmp_path)
    with pytest.raises(SettingError, match="no key 'k3'"):
        keys.load(tmp_path, "k3")
    secret(tmp_path, "k2", bytes(31))
    with pytest.raises(SettingError, match="key 'k2' is not 32 bytes in base64"):
        keys.load(tmp_path, "k1")


def test_a_key_never_shows_itself(ring: KeyRing) -> None:
    assert ring.active.secret.hex() not in repr(ring)
    assert repr(ring.active.secret) not in repr(ring.active)


@pytest.mark.parametrize("text", ["", "http://x", "s3://", "file://relative", "s3://user@bucket/x"])
def test_a_destination_of_no_use_is_named(text: str) -> None:
    with pytest.raises(SettingError, match="SHIELDX_BACKUP_DESTINATION"):
        settings.destination({"SHIELDX_BACKUP_DESTINATION": text})


def test_a_folder_is_a_destination(tmp_path: Path) -> None:
    assert isinstance(settings.destination({"SHIELDX_BACKUP_DESTINATION": tmp_path.as_uri()}), Folder)


def test_a_password_does_not_stand_in_arguments() -> None:
    address = Address("postgresql://user:pa%2Fss@host:5433/name?sslmode=require")
    assert address.argument == "postgresql://user@host:5433/name?sslmode=require"
    assert address.secrets["PGPASSWORD"] == "pa/ss"
    assert "pa" not in repr(address)
    assert address.sibling("other").argument == "postgresql://user@host:5433/other?sslmode=require"


def test_an_older_tool_is_seen() -> None:
    assert server_newer_than_tool("18.1", "15.6")
    assert not server_newer_than_tool("15.9", "15.6")
