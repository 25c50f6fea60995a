"""Single values of headers and rows: the right types are returned, all others are refused."""

from __future__ import annotations

import math

import pytest

from raystellar.errors import SpectrumError
from raystellar.spectra.values import INT32_END, identifier, integer, real, string


@pytest.mark.parametrize(
    ("value", "expected"), [(7, 7), (7.0, 7), (-INT32_END, -INT32_END), (INT32_END - 1, INT32_END - 1)]
)
def test_integers_of_32_bits_are_returned(value, expected):
    assert integer({"MJD": value}, "MJD") == expected
    assert type(integer({"MJD": value}, "MJD")) is int


@pytest.mark.parametrize("value", [INT32_END, -INT32_END - 1, 7.5, math.nan, math.inf, True, "7"])
def test_other_values_are_no_integers(value):
    with pytest.raises(SpectrumError, match="bad value MJD"):
        integer({"MJD": value}, "MJD")


def test_a_missing_integer_needs_a_default():
    assert integer({"MJD": None}, "MJD", default=0) == integer({}, "MJD", default=0) == 0
    with pytest.raises(SpectrumError, match="missing MJD"):
        integer({}, "MJD")


def test_numbers_and_texts_may_be_missing():
    assert math.isnan(real({}, "Z"))
    assert (real({"Z": 1}, "Z"), type(real({"Z": 1}, "Z"))) == (1.0, float)
    assert string({"CLASS": None}, "CLASS") == ""
    assert string({"CLASS": "STAR"}, "CLASS") == "STAR"


@pytest.mark.parametrize(("read", "value"), [(real, "0.1"), (real, True), (string, 1.0)])
def test_values_of_another_type_are_refused(read, value):
    with pytest.raises(SpectrumError, match="bad value Z"):
        read({"Z": value}, "Z")


def test_identifiers_are_texts_and_integers():
    assert (identifier({"SPID": 6}, "SPID"), identifier({"PLANID": "B6212"}, "PLANID")) == ("6", "B6212")
    assert identifier({"SPID": None}, "SPID") == identifier({}, "SPID") == ""
    for value in (6.5, True):
        with pytest.raises(SpectrumError, match="bad value SPID"):
            identifier({"SPID": value}, "SPID")
