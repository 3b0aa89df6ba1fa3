"""Write, back up, write more, destroy, restore, compare with the client's own record."""

import asyncio
import uuid
from pathlib import Path

from shieldx_contract import ENV_DATABASE_URI_FILE
from shieldx_contract import backup as names
from shieldx_runtime.core.migrations import run as run_migrations
from shieldx_runtime.core.roles import admit
from shieldx_runtime.credits.roles import KEY_READER_GRANTS, RIGHTS
from shieldx_runtime.shadow.roles import rights
from shieldx_runtime.shadow.service.store import migrations as shadow_migrations
from tests.integration.backup.world import World


def test_a_backup_is_listed_with_its_proof(world: World) -> None:
    world.spend()
    made = world.run("run")
    assert made["verified"]["verified_at"]
    assert made["rows"]["credits.accounts"] == 5
    assert made["rows"]["credits.ledger"] == 20
    listed = world.run("list")
    assert [copy["id"] for copy in listed["copies"]] == [made["id"]]
    assert listed["copies"][0]["verified"]["manifest_sha256"]
    assert listed["broken"] == {}
    assert listed["leftovers"] == 0


def test_a_dump_is_restored_into_a_new_database_row_for_row(world: World) -> None:
    world.spend()
    world.run("run")
    restored = world.run("restore", "--no-replay")
    target = world.postgres.uri(f"{world.database}_new")
    assert world.all_rows(target) == world.all_rows()
    assert world.faults(target) == []
    assert restored["timeline"][-1]["step"] == "sums, balances and chains verified"
    refused = world.run("restore", code=names.EXIT_SETTINGS)
    assert "has tables" in refused["message"]


def test_the_samples_of_a_shadow_service_are_in_the_dump_and_come_back_in_place(folder_world: World) -> None:
    """A ShadowService keeps them beside the ledger, in a schema of its own."""
    world = folder_world
    uri_file = Path(world.environ[ENV_DATABASE_URI_FILE])
    asyncio.run(run_migrations(uri_file, "shadow", shadow_migrations()))
    role = f"shadow_of_{world.database}"
    service_uri = world.uri_file("shadow-uri", f"postgresql://{role}:secret@127.0.0.1/{world.database}")
    asyncio.run(admit(uri_file, Path(service_uri), rights(KEY_READER_GRANTS, RIGHTS.schema)))
    world.spend()
    world.sql(
        "INSERT INTO shadow.samples (tenant_id, line) SELECT 'org-1', n::text::bytea FROM generate_series(1, 500) n"
    )
    samples = "SELECT id, tenant_id, line, received_at FROM shadow.samples ORDER BY id"
    kept = world.sql(samples)
    made = world.run("run")
    assert made["rows"]["shadow.samples"] == 500
    world.sql("DELETE FROM shadow.samples")
    world.run("restore", "--in-place", f"--confirm={world.service}")
    assert world.sql(samples) == kept
    may = "SELECT has_table_privilege($1, $2, 'SELECT') AND has_schema_privilege($1, 'shadow', 'USAGE') AS may"
    assert [world.sql(may, role, table)[0]["may"] for table in ("shadow.samples", "credits.api_keys")] == [True, True]
    assert not world.sql(may, role, "credits.ledger")[0]["may"]
    # its schema goes on where it was, and so do the numbers of what is kept from now on
    asyncio.run(run_migrations(uri_file, "shadow", shadow_migrations()))
    world.sql("INSERT INTO shadow.samples (tenant_id, line) VALUES ('org-1', 'x')")
    assert world.sql("SELECT max(id) AS id FROM shadow.samples")[0]["id"] == kept[-1]["id"] + 1


def test_what_was_shipped_after_the_dump_is_replayed(world: World) -> None:
    world.spend()
    world.run("ship-audit", "--once")
    world.run("run")
    world.spend(tenants=7, each=3)
    key = uuid.uuid4()
    world.move("org-6", "consume", 5, key)
    assert world.run("ship-audit", "--once")["segments"] == 1
    world.run("restore")
    target = world.postgres.uri(f"{world.database}_new")
    assert world.balances(target) == world.expected()
    assert world.all_rows(target) == world.all_rows()
    assert world.faults(target) == []


def test_a_destroyed_database_comes_back_with_everything_that_was_shipped(world: World) -> None:
    world.spend()
    world.run("ship-audit", "--once")
    world.run("run")
    world.spend(tenants=6)
    key = uuid.uuid4()
    world.move("org-0", "consume", 7, key)
    world.run("ship-audit", "--once")
    expected = world.expected()
    rows = world.all_rows()
    world.destroy_database()
    restored = world.run("restore", "--in-place", f"--confirm={world.service}")
    assert restored["safety_copy"] is None
    assert world.balances() == expected
    assert world.all_rows() == rows
    assert world.faults() == []
    # a client that never got its answer asks again with the same key: it is not charged twice
    again = world.move("org-0", "consume", 7, key)
    assert (again["o_outcome"], again["o_replayed"]) == ("done", True)
    assert world.balances() == expected
    # and the stream goes on, on a line of its own
    world.move("org-0", "consume", 1)
    shipped = world.run("ship-audit", "--once")
    assert shipped["line"] == "00000002"
    assert shipped["rows"] < 20
    world.run("drill")
    assert world.run("list")["copies"][0]["drilled"]["rto_s"] > 0


def test_a_restore_in_place_keeps_the_old_database_and_what_was_not_shipped_yet(world: World) -> None:
    world.spend()
    world.run("ship-audit", "--once")
    world.run("run")
    world.spend(tenants=6)
    rows = world.all_rows()
    refused = world.run("restore", "--in-place", "--confirm=another", code=names.EXIT_SETTINGS)
    assert "is not 'test.credits'" in refused["message"]
    restored = world.run("restore", "--in-place", f"--confirm={world.service}")
    assert world.all_rows() == rows
    assert world.all_rows(world.postgres.uri(restored["safety_copy"])) == rows


def test_a_drill_measures_and_leaves_no_database(world: World) -> None:
    world.spend()
    world.run("ship-audit", "--once")
    world.run("run")
    drilled = world.run("drill")
    assert drilled["rto_s"] > 0
    assert 0 <= drilled["rpo_s"] < 300
    left = world.sql("SELECT datname FROM pg_database WHERE datname LIKE 'shieldx_drill%'")
    assert left == []
