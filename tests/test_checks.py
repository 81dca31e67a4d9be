"""What the public functions take: every kind of number and array that means one, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

import numsim
from numsim.models.checks import number, real_array, whole

Z = np.random.default_rng(0).standard_normal((6, 4))
W = 0.1 * Z[:3]
V = np.full((2, 1, 4), 0.1)
X, Y = Z[:, None, :], np.array([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])

POSITIVE: dict[str, Callable[[Any], object]] = {
    "temperature": lambda v: numsim.info_nce(W, Z, Z, temperature=v),
    "temperature ": lambda v: numsim.pretrain(W, Z, Z, temperature=v, learning_rate=0.1, max_steps=1),
    "temperature  ": lambda v: numsim.power_matrix(Z, Z, temperature=v, learning_rate=0.1),
    "learning_rate": lambda v: numsim.pretrain(W, Z, Z, learning_rate=v, max_steps=1),
    "learning_rate ": lambda v: numsim.power_matrix(Z, Z, learning_rate=v),
    "learning_rate  ": lambda v: numsim.train(V, X, Y, q=3, learning_rate=v, max_steps=1),
    "output_scale": lambda v: numsim.logistic_loss(V, X, Y, q=3, output_scale=v),
    "output_scale ": lambda v: numsim.train(V, X, Y, q=3, learning_rate=1, max_steps=1, output_scale=v),
    "q": lambda v: numsim.logistic_loss(V, X, Y, q=v),
    "q ": lambda v: numsim.train(V, X, Y, q=v, learning_rate=1, max_steps=1),
    "target_loss": lambda v: numsim.train(V, X, Y, q=3, learning_rate=1, max_steps=1, target_loss=v),
}
WHOLE: dict[str, Callable[[Any], object]] = {
    "max_steps": lambda v: numsim.pretrain(W, Z, Z, learning_rate=0.1, max_steps=v)[1].steps,
    "max_steps ": lambda v: numsim.train(V, X, Y, q=3, learning_rate=0.1, max_steps=v)[1].steps,
    "record": lambda v: numsim.pretrain(W, Z, Z, learning_rate=0.1, max_steps=5, record=v)[1].steps,
    "record ": lambda v: numsim.train(V, X, Y, q=3, learning_rate=0.1, max_steps=5, record=v)[1].steps,
    "threads": lambda v: numsim.pretrain(W, Z, Z, learning_rate=0.1, max_steps=1, threads=v),
    "threads ": lambda v: numsim.train(V, X, Y, q=3, learning_rate=0.1, max_steps=1, threads=v),
}
NO_NUMBERS = [
    math.nan,
    math.inf,
    -math.inf,
    -1,
    "1",
    b"1",
    True,
    np.True_,
    1j,
    np.complex128(1),
    Decimal(1),
    [1.0],
    np.ones(1),
    np.ma.masked,
    10**400,
    object(),
]


@pytest.mark.parametrize("value", [*NO_NUMBERS, None], ids=lambda v: repr(v)[:20])
@pytest.mark.parametrize("name", POSITIVE)
def test_what_is_no_number_is_refused_in_one_sentence(name: str, value: Any) -> None:
    if name == "temperature " and value is None:
        pytest.skip("None is the temperature of the loss")
    with pytest.raises(ValueError, match=rf"^{name.strip()} is [^\n]*, expected a[^\n]*number"):
        POSITIVE[name](value)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2), np.array(2.0), Fraction(2)], ids=repr)
@pytest.mark.parametrize("name", POSITIVE)
def test_numbers_of_any_type_are_the_same_number(name: str, value: Any) -> None:
    found, expected = POSITIVE[name](value), POSITIVE[name](2.0)
    for mine, yours in zip(np.atleast_1d(found[0]), np.atleast_1d(expected[0]), strict=True):  # type: ignore[index]
        np.testing.assert_array_equal(mine, yours)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 300.5, 2**53 + 2, 1e300], ids=lambda v: repr(v)[:20])
@pytest.mark.parametrize("name", WHOLE)
def test_what_is_no_whole_number_is_refused_in_one_sentence(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name.strip()} is [^\n]*, expected a whole number >= [01]"):
        WHOLE[name](value)


@pytest.mark.parametrize("value", [3, 3.0, np.int64(3), np.uint8(3), np.float32(3), np.array(3), Fraction(3)])
@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_of_any_type_are_taken(name: str, value: Any) -> None:
    found = WHOLE[name](value)
    if "steps" in name:
        assert found == 3


def test_the_largest_whole_number() -> None:
    assert whole("n", 2**53) == whole("n", 2.0**53) == 2**53
    with pytest.raises(ValueError, match=r"^n is 9007199254740993, expected a whole number >= 0$"):
        whole("n", 2**53 + 1)
    with pytest.raises(ValueError, match=r"^n is 1e\+300, expected a whole number >= 0 and <= 2\^53$"):
        whole("n", 1e300)
    assert number("x", 5e-324, lambda x: x > 0, "") == 5e-324


MASK = Z > 1.0
NOTHING: Any = None
NO_ARRAYS: dict[str, Any] = {
    "masked entries": np.ma.array(Z, mask=MASK),
    "masked entries ": [np.ma.array(row, mask=row > 1.0) for row in Z],
    "imaginary parts": Z + 1j,
    "text": Z.astype(str),
    "text ": Z.astype(bytes),
    "datetime64": np.zeros((6, 4), dtype="M8[s]"),
    "None": np.where(MASK, NOTHING, Z.astype(object)),
    "'1'": np.where(MASK, "1", Z.astype(object)),
    "1j": (Z + 1j).astype(object),
    "<NA>": pd.DataFrame(Z).mask(MASK).astype("Float64"),
    "cannot be read": [[1.0, 2.0], [3.0]],
    "None ": None,
    "is {1: 2}": {1: 2},
    "NaN": np.where(MASK, np.nan, Z),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("words", NO_ARRAYS)
def test_arrays_that_would_lose_something_are_refused_in_one_sentence(words: str) -> None:
    value = NO_ARRAYS[words]
    calls: dict[str, Callable[[], object]] = {
        "W": lambda: numsim.info_nce(value, Z, Z),
        "z": lambda: numsim.power_matrix(value, Z, learning_rate=1),
        "z_aug": lambda: numsim.pretrain(W, Z, value, learning_rate=1, max_steps=1),
        "x": lambda: numsim.logistic_loss(V, value, Y, q=3),
        "compress: array 1": lambda: numsim.compress(Z, value),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=rf"^{name} [^\n]*$") as caught:
            call()
        if name != "x" or words != "NaN":  # its shape is refused first
            assert words.strip() in str(caught.value) or words == "<NA>"


ARRAYS: dict[str, Callable[[npt.NDArray[np.float64]], Any]] = {
    "list": lambda a: a.tolist(),
    "single": lambda a: np.round(a).astype(np.float32),
    "whole": lambda a: np.round(a).astype(np.int16),
    "bool": lambda a: a > 0,
    "complex": lambda a: a.astype(np.complex128),
    "object": lambda a: a.astype(object),
    "fractions": lambda a: np.frompyfunc(Fraction, 1, 1)(a),
    "masked, but nowhere": lambda a: np.ma.array(a, mask=False),
    "frame": pd.DataFrame,
    "nullable frame": lambda a: pd.DataFrame(a).astype("Float64"),
    "other order": np.asfortranarray,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_any_kind_are_the_same_array(kind: str) -> None:
    given = ARRAYS[kind](Z)
    found = real_array("z", given)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[float(x.real) for x in row] for row in np.asarray(given)])
    assert real_array("z", Z) is Z


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, 1, 0, 0, 1], "the values 0, 1: np.where(y == 1, 1, -1) maps 1 to +1 and 0 to -1"),
        ([1, 2, 2, 1, 1, 2], "the values 1, 2: np.where(y == 2, 1, -1) maps 2 to +1 and 1 to -1"),
        (np.array([True, False] * 3), "the values 0, 1: np.where(y == 1, 1, -1) maps 1 to +1 and 0 to -1"),
        (range(6), "the values 0, 1, 2, 3, 4, ..."),
        ([1, -1, 1, -1, 1, 0], "the values -1, 0, 1"),
        ([1, -1, 1, -1, 1, math.nan], "the values -1, 1, nan"),
        (Y[:, None], "shape (6, 1)"),
    ],
)
def test_labels_other_than_signs_are_named_with_a_way_to_map_them(labels: Any, words: str) -> None:
    for call in (
        lambda: numsim.logistic_loss(V, X, labels, q=3),
        lambda: numsim.train(V, X, labels, q=3, learning_rate=1, max_steps=1),
    ):
        with pytest.raises(ValueError, match=r"^y must be 6 labels") as caught:
            call()
        assert str(caught.value) == f"y must be 6 labels in {{-1, +1}}, one a sample; got {words}"
