"""One labelled sample, out of the fields that a record has. Whatever cannot be judged is an error with a reason."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, Final

import msgspec

ATTACK: Final = frozenset({"attack", "anom", "1", "true"})
BENIGN: Final = frozenset({"benign", "norm", "0", "false"})
REQUEST_PARTS: Final = ("method", "path", "query", "headers", "body")
_KNOWN: Final[dict[str | int | bool, bool]] = {
    **dict.fromkeys((*ATTACK, 1), True),
    **dict.fromkeys((*BENIGN, 0), False),
}
"""The common labels as they stand, for the quick way; true and false are 1 and 0 here."""
_SURELY_SHORT_CHARS: Final = 4 * 2**20
"""A character takes at most four bytes."""
UNNAMED: Final = "(unnamed)"
MAX_PAYLOAD_BYTES: Final = 16 * 2**20
MAX_NAME_CHARS: Final = 64

# why a record is outside of the confusion matrix; the names are those of `errorsByReason`
UNREADABLE: Final = "unreadable"
TOO_LONG: Final = "too_long"
NOT_UTF8: Final = "not_utf8"
NO_PAYLOAD: Final = "no_payload"
NO_LABEL: Final = "no_label"
NO_CLIENT: Final = "no_client_ip"
NO_TIME: Final = "no_timestamp"
OUT_OF_ORDER: Final = "out_of_order"


class SampleError(ValueError):
    """A record is no sample; the text is one of the reasons above."""


class Sample(msgspec.Struct, frozen=True, gc=False):
    """A sample. `client` is an address as a number of 128 bits, `time_s` seconds since 1970."""

    payload: str
    attack: bool
    group: str
    client: int | None = None
    time_s: float | None = None


def sample(record: Mapping[str, Any], *, with_client: bool, with_time: bool) -> Sample:
    """The sample that a record holds.

    `group` is the attack type of an attack, else what a benign sample is grouped by: its `group`, its path or where
    its label came from. Ids are not looked at: two records with the same id are two samples.

    Raises:
        SampleError: see the reasons above.
    """
    payload = _payload(record)
    attack = _label(record.get("label"))
    return Sample(
        payload=payload,
        attack=attack,
        group=_group(record, attack),
        client=_client(record.get("client_ip")) if with_client else None,
        time_s=_time_s(record.get("timestamp")) if with_time else None,
    )


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Samples by their columns, and the line of each. `clients` and `times_s` are there where a rule needs them."""

    lines: Sequence[int]
    payloads: list[str]
    attacks: list[bool]
    groups: list[str]
    clients: list[int | None] | None = None
    times_s: list[float | None] | None = None

    def __len__(self) -> int:
        return len(self.payloads)

    @classmethod
    def of(cls, rows: Sequence[tuple[int, Sample]]) -> "Batch":
        samples = [seen for _, seen in rows]
        return cls(
            [line for line, _ in rows],
            [seen.payload for seen in samples],
            [seen.attack for seen in samples],
            [seen.group for seen in samples],
            [seen.client for seen in samples],
            [seen.time_s for seen in samples],
        )


class Plain(msgspec.Struct, gc=False):
    """The fields of nearly every record, as a decoder fills them without a dictionary."""

    payload: str
    label: str | int | bool
    attack_type: str | None = None
    group: str | None = None
    path: str | None = None
    label_source: str | None = None
    client_ip: Any = None
    timestamp: Any = None


_decode_plain: Final = msgspec.json.Decoder(Plain).decode
_decode_lines: Final = msgspec.json.Decoder(Plain).decode_lines
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def read(line: bytes, *, with_client: bool, with_time: bool) -> Sample | str:
    """The sample that a line of NDJSON holds, or the reason why it holds none.

    A line with nothing unusual in it, and that is nearly every one, takes a way of a third of the cost.
    """
    try:
        if not line.isascii():
            line.decode()  # the decoder skips fields that it does not know, whatever is in them
        plain = _decode_plain(line)
        attack = _KNOWN[plain.label]
        payload = plain.payload
        if len(payload) <= _SURELY_SHORT_CHARS:
            name = plain.attack_type if attack else plain.group or plain.path or plain.label_source
            group = name[:MAX_NAME_CHARS] if name else UNNAMED
            if not with_client and not with_time:
                return Sample(payload, attack, group)
            return Sample(
                payload,
                attack,
                group,
                _client(plain.client_ip) if with_client else None,
                _time_s(plain.timestamp) if with_time else None,
            )
    except (msgspec.DecodeError, UnicodeError, RecursionError, KeyError):
        pass  # unusual, or wrong: the long way tells which
    except SampleError as error:
        return str(error)
    return _read_unusual(line, with_client=with_client, with_time=with_time)


def read_lines(data: bytes, lines: int) -> "list[Plain] | None":
    """The records of so many lines of NDJSON; None where one of them is unusual or wrong: then `read` tells which.

    One call for all of them costs a third of one for each.
    """
    if len(data) > _SURELY_SHORT_CHARS:
        return None
    # objects that end where a line does and begin where one does: an object never has its line's end inside of it
    ends = data.count(b"}\n{")
    if ends != lines - 1 and ends + data.count(b"}\r\n{") != lines - 1:
        return None
    try:
        if not data.isascii():
            data.decode()
        found = _decode_lines(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found if len(found) == lines else None


def labels_of(plain: "Sequence[Plain]") -> list[bool] | None:
    """Whether each is an attack; None where a label is an unusual one."""
    try:
        return [_KNOWN[record.label] for record in plain]
    except KeyError:
        return None


def names_of(plain: "Sequence[Plain]", attacks: Sequence[bool]) -> list[str | None]:
    """What each is grouped by, before `group_of`."""
    return [
        record.attack_type if attack else record.group or record.path or record.label_source
        for record, attack in zip(plain, attacks, strict=True)
    ]


def group_of(name: str | None) -> str:
    return name[:MAX_NAME_CHARS] if name else UNNAMED


def _read_unusual(line: bytes, *, with_client: bool, with_time: bool) -> Sample | str:
    try:
        return sample(_decode(line), with_client=with_client, with_time=with_time)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNREADABLE
    except SampleError as error:
        return str(error)


def _payload(record: Mapping[str, Any]) -> str:
    payload = record.get("payload")
    if payload is None:
        parts = [record[part] for part in REQUEST_PARTS if record.get(part) is not None]
        if not parts:
            raise SampleError(NO_PAYLOAD)
        payload = "\n".join(map(_text, parts))
    elif not isinstance(payload, str):
        raise SampleError(NO_PAYLOAD)
    try:
        size_bytes = len(payload.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        raise SampleError(NOT_UTF8) from None
    if size_bytes > MAX_PAYLOAD_BYTES:
        raise SampleError(TOO_LONG)
    return payload


def _text(part: Any) -> str:
    if isinstance(part, Mapping):
        return "\n".join(f"{name}: {value}" for name, value in part.items())
    return str(part)


def _label(value: Any) -> bool:
    text = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool | int) else ""
    if text in ATTACK or text.lower() in ATTACK:
        return True
    if text in BENIGN or text.lower() in BENIGN:
        return False
    raise SampleError(NO_LABEL)


def _group(record: Mapping[str, Any], attack: bool) -> str:
    if attack:
        name = record.get("attack_type")
    else:
        name = record.get("group") or record.get("path") or record.get("label_source")
    return str(name)[:MAX_NAME_CHARS] if name else UNNAMED


def _client(value: Any) -> int:
    try:
        address = ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise SampleError(NO_CLIENT) from None
    return numbered(address)


def numbered(address: Any) -> int:
    """An address of either version as a number of 128 bits: version 4 where version 6 maps it."""
    return int(address) if address.version == 6 else 0xFFFF_0000_0000 + int(address)  # noqa: PLR2004 - a version


def _time_s(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str):
        seconds = _parsed_time_s(value)
    else:
        raise SampleError(NO_TIME)
    if not -62_135_596_800 <= seconds <= 253_402_300_799:  # noqa: PLR2004 - the years 1 to 9999
        raise SampleError(NO_TIME)
    return seconds


def _parsed_time_s(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SampleError(NO_TIME) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
