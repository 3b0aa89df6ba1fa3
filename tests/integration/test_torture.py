"""A short run of the crash oracle; `make torture SEEDS=n` is the long one."""

from collections.abc import Iterator

import pytest

from tests.integration.harness import Stack, running_stack
from tests.integration.torture import SETTINGS, Auditor, torture


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One of its own, durable, which is killed again and again."""
    with running_stack(tmp_path_factory.mktemp("torture"), durable=True, **SETTINGS) as made:
        yield made


@pytest.fixture(scope="module")
def auditor(stack: Stack) -> Auditor:
    return Auditor.of(stack)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_is_killed_each_key_has_one_outcome(stack: Stack, auditor: Auditor, seed: int) -> None:
    seen = torture(stack, auditor, seed)
    assert seen["200"] > 20
    assert seen["402"] > 0
    assert seen["alerts"] > 0
    assert seen["service"] + seen["postgres"] + seen["redis"] == 3


def test_what_is_left_verifies_with_the_public_key_and_the_kept_checkpoints(stack: Stack, auditor: Auditor) -> None:
    assert len(auditor.kept) == 3
    assert "chains verify" in auditor.verify_by_command(stack)
