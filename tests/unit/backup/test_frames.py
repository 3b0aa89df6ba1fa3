from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shieldx_runtime.backup.errors import DamagedError, WrongKeyError
from shieldx_runtime.backup.frames import TAG_BYTES, open_sealed, seal
from shieldx_runtime.backup.keys import Key, KeyRing
from shieldx_runtime.backup.streams import CODEC_PLAIN, CODEC_ZSTD, compress, unpack

FRAME = 64
CONTEXT = "ns.name/database/id/dump"
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def sealed(ring: KeyRing, data: bytes, *, context: str = CONTEXT, key_id: str = "new") -> bytes:
    return b"".join(seal([data], ring.keys[key_id], codec=CODEC_PLAIN, context=context, frame_bytes=FRAME))


def opened(ring: KeyRing, data: bytes, *, context: str = CONTEXT, chunk: int = 50) -> bytes:
    pieces = [data[i : i + chunk] for i in range(0, len(data), chunk)]
    _, frames = open_sealed(pieces, ring, context=context)
    return b"".join(frames)


def header_length(ring: KeyRing) -> int:
    return len(sealed(ring, b"")) - TAG_BYTES


@SHARED
@given(data=st.binary(max_size=5 * FRAME), chunk=st.integers(1, 300))
def test_what_was_sealed_opens_whatever_the_pieces(ring: KeyRing, data: bytes, chunk: int) -> None:
    assert opened(ring, sealed(ring, data), chunk=chunk) == data


@pytest.mark.parametrize("size", [0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, 3 * FRAME])
def test_lengths_around_a_frame_open(ring: KeyRing, size: int) -> None:
    data = bytes(range(256))[: size % 256] if size < 256 else bytes(size)
    assert opened(ring, sealed(ring, data)) == data


@SHARED
@given(data=st.data())
def test_one_flipped_bit_anywhere_does_not_open(ring: KeyRing, data: st.DataObject) -> None:
    whole = bytearray(sealed(ring, bytes(3 * FRAME + 5)))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((DamagedError, WrongKeyError)):
        opened(ring, bytes(whole))


@SHARED
@given(data=st.data())
def test_an_object_that_was_cut_off_anywhere_does_not_open(ring: KeyRing, data: st.DataObject) -> None:
    whole = sealed(ring, bytes(3 * FRAME + 5))
    with pytest.raises(DamagedError):
        opened(ring, whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_a_cut_between_two_frames_is_seen(ring: KeyRing) -> None:
    whole = sealed(ring, bytes(3 * FRAME + 5))
    with pytest.raises(DamagedError, match="cut off or altered"):
        opened(ring, whole[: header_length(ring) + 2 * (FRAME + TAG_BYTES)])


def test_frames_that_changed_places_do_not_open(ring: KeyRing) -> None:
    whole, begin, size = sealed(ring, bytes(3 * FRAME + 5)), header_length(ring), FRAME + TAG_BYTES
    first, second = whole[begin : begin + size], whole[begin + size : begin + 2 * size]
    with pytest.raises(DamagedError, match="frame 0"):
        opened(ring, whole[:begin] + second + first + whole[begin + 2 * size :])


def test_a_frame_of_another_object_does_not_open(ring: KeyRing) -> None:
    begin, size = header_length(ring), FRAME + TAG_BYTES
    one, other = sealed(ring, bytes(3 * FRAME)), sealed(ring, bytes(3 * FRAME))
    with pytest.raises(DamagedError, match="frame 0"):
        opened(ring, one[:begin] + other[begin : begin + size] + one[begin + size :])


def test_something_behind_the_end_is_seen(ring: KeyRing) -> None:
    with pytest.raises(DamagedError):
        opened(ring, sealed(ring, bytes(FRAME)) + b"x")


def test_an_object_in_the_place_of_another_does_not_open(ring: KeyRing) -> None:
    with pytest.raises(DamagedError, match="objects were exchanged"):
        opened(ring, sealed(ring, b"x", context="ns.name/database/other/dump"))


def test_another_key_under_the_same_id_is_called_a_wrong_key(ring: KeyRing) -> None:
    other = KeyRing(MappingProxyType({"new": Key("new", bytes(32))}), "new")
    with pytest.raises(WrongKeyError, match="is not the one that sealed"):
        opened(other, sealed(ring, b"x"))


def test_a_missing_key_is_named(ring: KeyRing) -> None:
    other = KeyRing(MappingProxyType({"new": ring.keys["new"]}), "new")
    with pytest.raises(WrongKeyError, match=r"key 'old' sealed this copy and is not among \['new'\]"):
        opened(other, sealed(ring, b"x", key_id="old"))


def test_a_rotation_keeps_old_objects_readable(ring: KeyRing) -> None:
    assert opened(ring, sealed(ring, b"x", key_id="old")) == b"x"


def test_a_newer_format_is_named(ring: KeyRing) -> None:
    whole = bytearray(sealed(ring, b"x"))
    whole[4] = 2
    with pytest.raises(DamagedError, match="format version 2"):
        opened(ring, bytes(whole))


def test_a_long_run_of_zeros_unpacks_in_bounded_pieces() -> None:
    zeros = bytes(1 << 20)
    packed = list(compress([zeros] * 64))
    pieces = list(unpack(packed, CODEC_ZSTD))
    assert sum(map(len, pieces)) == 64 << 20
    assert max(map(len, pieces)) <= 1 << 20


def test_content_behind_the_compressed_end_is_seen() -> None:
    with pytest.raises(DamagedError, match="written by a faulty program"):
        list(unpack([*compress([b"x"]), b"more"], CODEC_ZSTD))


def test_an_unknown_codec_is_named() -> None:
    with pytest.raises(DamagedError, match="codec 9"):
        list(unpack([b"x"], 9))
