"""The pure parts of the credits slice: hashes, floors, statements, migrations, keys of requests."""

import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shieldx_runtime.core import statements
from shieldx_runtime.core.cache import Cache, Entry
from shieldx_runtime.core.metrics import Metrics
from shieldx_runtime.core.migrations import Migration, MigrationError, load, pending, schema_problem
from shieldx_runtime.credits.balances import Floors
from shieldx_runtime.credits.model import Consume, Purchase, request_hash
from shieldx_runtime.credits.schemas import parse_idempotency_key

ONE, TWO = Migration(1, "0001_a.sql", "SELECT 1"), Migration(2, "0002_b.sql", "SELECT 2")


def test_requests_are_the_same_if_all_that_matters_is() -> None:
    key = str(uuid.uuid4())
    base = Consume("org-1", 5, key, "key-1")
    assert base.request_hash() == Consume("org-1", 5, str(uuid.uuid4()), "key-2", None).request_hash()
    others: list[Consume | Purchase] = [
        Purchase("org-1", 5, uuid.UUID(key)),
        Purchase("org-1", 5, uuid.UUID(key), source=""),
        Purchase("org-1", 5, uuid.UUID(key), priority=7),
        Purchase("org-1", 5, uuid.UUID(key), expires_at=datetime(2030, 1, 1, tzinfo=UTC)),
        Consume("org-2", 5, key, "key-1"),
        Consume("org-1", 6, key, "key-1"),
        Consume("org-1", 5, key, "key-1", description=""),
        Consume("org-1", 5, key, "key-1", reference=""),
        Consume("org-1", 5, key, "key-1", description="a", reference="b"),
        Consume("org-1", 5, key, "key-1", description='a", "b'),
    ]
    assert len({m.request_hash() for m in [base, *others]}) == 11


@pytest.mark.parametrize("text", [None, "", "plain", 'ü "quoted" \\ \n\t 💳 \x7f'])
def test_the_digest_of_a_consume_is_the_one_that_the_first_release_recorded(text: str | None) -> None:
    consume = Consume("org-1.x_y-z", 2**53 - 1, "key", "key-1", text, text)
    assert consume.request_hash() == request_hash("consume", "org-1.x_y-z", 2**53 - 1, text, text, None)


@pytest.mark.parametrize("text", ["7d3f8a52-3c1e-4b5a-9f0e-2a6b1c8d4e90", "7D3F8A52-3C1E-4B5A-BF0E-2A6B1C8D4E90"])
def test_a_uuid_v4_is_a_key(text: str) -> None:
    assert parse_idempotency_key(text) == uuid.UUID(text)


@pytest.mark.parametrize(
    "value",
    [
        None,
        4,
        b"",
        "7d3f8a52-3c1e-1b5a-9f0e-2a6b1c8d4e90",
        "7d3f8a52-3c1e-4b5a-cf0e-2a6b1c8d4e90",
        "7d3f8a523c1e4b5a9f0e2a6b1c8d4e90",
    ],
)
def test_anything_else_is_none(value: object) -> None:
    assert parse_idempotency_key(value) is None


class TestFloors:
    def test_they_only_rise(self) -> None:
        floors = Floors(60)
        for version in (3, 5, 4):
            floors.raise_to("org-1", version)
        assert floors.of("org-1") == 5
        assert floors.of("org-2") == 0

    def test_they_go_when_no_older_balance_can_be_cached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        floors = Floors(60)
        floors.raise_to("org-1", 3)
        now += 59
        floors.raise_to("org-2", 1)
        assert floors.of("org-1") == 3
        now += 2
        floors.raise_to("org-2", 2)
        assert (floors.of("org-1"), floors.of("org-2")) == (0, 2)

    def test_they_are_bounded_and_the_oldest_goes(self) -> None:
        floors = Floors(60, capacity=2)
        for name in ("a", "b", "a", "c"):
            floors.raise_to(name, 1)
        assert [floors.of(n) for n in ("a", "b", "c")] == [1, 0, 1]


def test_statements_are_found_by_name(tmp_path: Path) -> None:
    file = tmp_path / "s.sql"
    file.write_text("-- text before `-- name:` is a comment\n-- name: a\nSELECT 1;\n\n-- name: b\nSELECT\n 2;\n")
    assert dict(statements.load(file)) == {"a": "SELECT 1", "b": "SELECT\n 2"}
    file.write_text("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n")
    with pytest.raises(ValueError, match="'a' is empty or stands twice"):
        statements.load(file)


class TestMigrations:
    def test_what_was_applied_is_not_pending(self) -> None:
        assert pending([ONE, TWO], {}) == [ONE, TWO]
        assert pending([ONE, TWO], {1: ONE.sha256}) == [TWO]
        assert pending([ONE, TWO], {1: ONE.sha256, 2: TWO.sha256, 3: "of the next release"}) == []

    def test_an_edited_one_is_refused(self) -> None:
        with pytest.raises(MigrationError, match=r"^migration 0001_a.sql is not the one .*never edit"):
            pending([ONE], {1: TWO.sha256})

    def test_one_that_was_passed_over_is_refused(self) -> None:
        with pytest.raises(MigrationError, match=r"^migration 0001_a.sql was passed over"):
            pending([ONE, TWO], {2: TWO.sha256})

    def test_readiness_says_which_is_missing(self) -> None:
        assert schema_problem([ONE], {1: ONE.sha256}) == ""
        assert schema_problem([ONE, TWO], {1: ONE.sha256}) == (
            "migration 0002_b.sql is missing: run `shieldx credits migrate`"
        )

    @pytest.mark.parametrize("names", [["0001_a.sql", "0003_b.sql"], ["0002_a.sql"], ["1_a.sql"], ["0001_A.sql"]])
    def test_a_folder_with_a_gap_or_a_strange_name_is_refused(self, tmp_path: Path, names: list[str]) -> None:
        for name in names:
            (tmp_path / name).write_text("SELECT 1")
        with pytest.raises(ValueError, match="migration"):
            load(tmp_path)


async def test_a_cache_with_a_lifetime_of_0_asks_nobody(tmp_path: Path) -> None:
    uri = tmp_path / "uri"
    uri.write_text("redis://:secret@no-such-host.invalid/0")
    metrics = Metrics()
    cache = Cache(uri, ttl_s=0, metrics=metrics)
    await cache.put([Entry("key", 1, "value")])
    assert await cache.get("key") is None
    assert b"credits_cache_errors_total 0.0" in metrics.exposition()[0]
    await cache.close()
