import pytest

from bench.operator.widget import CONFIG_MAPS
from shieldx_operator.engine.client import ApiError
from shieldx_operator.engine.types import Query
from tests.unit.engine.test_client import client, refused


@pytest.mark.parametrize("status", [403, 400])
async def test_an_optional_list_that_is_refused_finds_nothing(status: int) -> None:
    made, _ = client(refused(status))
    assert await made.find(Query(CONFIG_MAPS, "n", optional=True)) == []


async def test_any_other_refusal_of_an_optional_list_is_an_error() -> None:
    made, _ = client(refused(409, "Conflict"))
    with pytest.raises(ApiError):
        await made.find(Query(CONFIG_MAPS, "n", optional=True))


async def test_a_forbidden_list_is_an_error() -> None:
    made, _ = client(refused(403, "Forbidden"))
    with pytest.raises(ApiError):
        await made.find(Query(CONFIG_MAPS, "n"))
