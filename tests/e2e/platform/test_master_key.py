"""The master key of texts is rotated by one more value in a Secret."""

from shieldx_operator.blocks.resources import SECRET
from shieldx_operator.engine.secrets import decoded
from tests.e2e.platform.conftest import SERVICE, Running
from tests.e2e.waiting import until


def test_a_master_key_that_is_added_becomes_the_active_one_and_one_that_is_emptied_goes(running: Running) -> None:
    world, ref = running.world, running.world.ref(SECRET, f"{SERVICE}-audit")

    def told() -> list[str]:
        return [line.split()[0] for line in decoded(world.get(ref))["master-keys"].splitlines()]

    assert told() == ["k1"]
    first = decoded(world.get(ref))["master-1"]
    world.change(ref, {"stringData": {"master-2": "B" * 43}})
    until("the operator has put the new key before the old one", lambda: told() == ["k2", "k1"])
    world.change(ref, {"stringData": {"master-1": ""}})
    until("the operator has taken the old key away", lambda: told() == ["k2"])
    # back, so that what was written meanwhile opens with either
    world.change(ref, {"stringData": {"master-1": first}})
    until("both are there", lambda: told() == ["k2", "k1"])
