"""Cursors that were made up: refused here, whatever the database would have said of them. Pure."""

import pytest

from shieldx_runtime.core.problems import ProblemError
from shieldx_runtime.credits.http import read_place, write_cursor
from shieldx_runtime.credits.privacy import Place
from shieldx_runtime.credits.privacy_routes import place_of

ID = "7d3f8a52-3c1e-4b5a-9f0e-2a6b1c8d4e90"
AT = "2030-01-31T12:00:00.000001Z"


@pytest.mark.parametrize(
    ("section", "position"),
    [("account", ""), ("transactions", "12"), ("accesses", "1"), ("keys", "0" * 16), ("grants", "")],
)
def test_a_place_of_an_export_is_found_again(section: str, position: str) -> None:
    assert place_of(write_cursor(section, position)) == Place(section, position)


def test_the_place_of_a_grant_keeps_its_microsecond() -> None:
    assert place_of(write_cursor("grants", f"{AT} {ID}")) == Place("grants", f"2030-01-31T12:00:00.000001+00:00 {ID}")


@pytest.mark.parametrize(
    ("section", "position"),
    [
        ("nothing", ""),
        ("account", "x"),
        ("transactions", "9" * 19),
        ("transactions", "-1"),
        ("accesses", "\u0661"),
        ("keys", "\0" * 16),
        ("grants", AT),
        ("grants", f"2030-W05-4 {ID}"),
        ("grants", f"0001-01-01T00:00:00+14:00 {ID}"),
        ("grants", f"{AT} {ID} {ID}"),
    ],
)
def test_a_place_that_no_export_gave_is_refused(section: str, position: str) -> None:
    with pytest.raises(ProblemError, match="it is not one that this call gave"):
        place_of(write_cursor(section, position))


@pytest.mark.parametrize(("moment", "identifier"), [(AT, "x"), ("2030-01-31T12:00:00", ID), ("", ID), ("9" * 400, ID)])
def test_a_time_and_an_id_that_are_none_are_refused(moment: str, identifier: str) -> None:
    with pytest.raises(ProblemError, match="cursor"):
        read_place(moment, identifier)
