"""Quantities: text in, SI inside, text out."""

import pytest

from optimizer import units


@pytest.mark.parametrize(
    ("text", "value"),
    [("80 GiB", 80 * 2**30), ("80 GB", 80 * 10**9), ("143771 MiB", 143771 * 2**20), ("512B", 512), ("1.5 KiB", 1536)],
)
def test_sizes_are_bytes(text: str, value: int) -> None:
    assert units.parse_bytes(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("400 Gb/s", 50e9), ("450 GB/s", 450e9), ("4.8 TB/s", 4.8e12), ("1 Gbit/s", 125e6), ("100 Gbps", 12.5e9)],
)
def test_bits_are_not_bytes(text: str, value: float) -> None:
    assert units.parse_bytes_per_s(text) == value


@pytest.mark.parametrize("text", [80, 80.0, "80", "GiB", "80 gib", "80 GiB/s", "-1 GiB", None, True, "nan GiB", ""])
def test_what_is_no_size_is_refused_with_an_example(text: object) -> None:
    with pytest.raises(ValueError, match=r"80 GiB|0 or more"):
        units.parse_bytes(text)


def test_times_rates_prices_and_shares_are_read() -> None:
    assert units.parse_seconds("40 ms") == 0.04
    assert units.parse_seconds("3 us") == pytest.approx(3e-6)
    assert units.parse_per_second("120 /min") == 2.0
    assert units.parse_price("3.50 USD/h") == (3.5, "USD")
    assert units.parse_price("2 $/h") == (2.0, "USD")
    assert units.parse_fraction("92 %") == pytest.approx(0.92)
    assert units.parse_fraction(0.92) == 0.92
    assert units.parse_flop_per_s("989 TFLOP/s") == 989e12
    assert units.parse_watts("0.7 kW") == 700.0


@pytest.mark.parametrize("value", [1.2, -0.1, "120 %"])
def test_a_share_lies_between_nothing_and_all(value: object) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        units.parse_fraction(value)


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234567, "0.1235"), (19.8123, "19.81"), (1000, "1,000"), (123456.7, "123,457"), (0, "0")]
)
def test_numbers_are_shown_without_exponent(value: float, text: str) -> None:
    assert units.show_number(value) == text


def test_quantities_are_shown_with_units() -> None:
    assert units.show_bytes(80 * 2**30) == "80.0 GiB"
    assert units.show_bytes_per_s(450e9) == "450 GB/s"
    assert units.show_seconds(0.0123) == "12.3 ms"
    assert units.show_seconds(0) == "0 s"
