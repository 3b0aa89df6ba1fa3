import pytest

from bench.operator.widget import CONFIG_MAPS
from shieldx_operator.engine.client import ApiError
from shieldx_operator.engine.types import Query
from tests.unit.engine.test_client import client, refused


async def test_an_optional_list_that_is_forbidden_finds_nothing() -> None:
    made, _ = client(refused(403, "Forbidden"))
    assert await made.find(Query(CONFIG_MAPS, "n", optional=True)) == []


async def test_any_other_refusal_of_an_optional_list_is_an_error() -> None:
    made, _ = client(refused(400, "BadRequest"))
    with pytest.raises(ApiError):
        await made.find(Query(CONFIG_MAPS, "n", optional=True))


async def test_a_forbidden_list_is_an_error() -> None:
    made, _ = client(refused(403, "Forbidden"))
    with pytest.raises(ApiError):
        await made.find(Query(CONFIG_MAPS, "n"))
