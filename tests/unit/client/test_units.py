"""Sizes, rates, CPUs and durations: what can be read, what is refused, what is shown."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import units


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("12B", 12),
        ("1K", 1024),
        ("1k", 1024),
        ("256M", 256 * 1024**2),
        ("10MiB", 10 * 1024**2),
        ("1.5G", 3 * 1024**3 // 2),
        ("0.5K", 512),
        (" 2T ", 2 * 1024**4),
        ("1P", 2**50),
        ("8191P", 8191 * 2**50),
    ],
)
def test_a_size_is_read_in_steps_of_1024(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "12Q", "-1", "-1M", "nan", "NaN", "inf", "1e3", "1KB", "iB", "M", "1.M", ".5M",
     "1,5M", "1 M B", "0.1", "0.0001K", "8192P", "9" * 5000, "1\n2", "\u0661", "1\0", "0x10"],
)  # fmt: skip
def test_a_size_that_cannot_be_read_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"given.*allowed.*256M") as caught:
        units.parse_size(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@given(st.integers(0, units.MAX_INTEGER))
def test_every_number_of_bytes_is_read_as_itself(size: int) -> None:
    assert units.parse_size(str(size)) == size


@given(st.integers(0, 8191), st.sampled_from("KMGTP"), st.sampled_from(["", "iB"]))
def test_every_unit_multiplies(number: int, unit: str, tail: str) -> None:
    assert units.parse_size(f"{number}{unit}{tail}") == number * 1024 ** ("KMGTP".index(unit) + 1)


@given(st.text(max_size=30))
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert 0 <= units.parse_size(text) <= units.MAX_INTEGER


@given(st.integers(0, 2**60))
def test_a_shown_size_is_within_a_twentieth_of_a_unit(size: int) -> None:
    number, unit = units.format_size(size).split()
    scale = 1024 ** ("KMGTP".index(unit[0]) + 1) if unit != "B" else 1
    assert abs(float(number) * scale - size) <= 0.0501 * scale
    assert float(number) < 1024 or unit == "PiB"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (256 * 1024**2, "256 MiB"),
        (3 * 1024**3 // 2, "1.5 GiB"),
        (1024**2 - 1, "1 MiB"),
        (2**60, "1024 PiB"),
    ],
)
def test_a_size_is_shown_in_the_largest_fitting_unit(size: int, text: str) -> None:
    assert units.format_size(size) == text


def test_a_rate_is_a_size_with_or_without_a_second() -> None:
    assert units.parse_rate("10M") == units.parse_rate("10MiB/s") == 10 * 1024**2


@pytest.mark.parametrize(
    ("text", "bits"),
    [
        ("8000bit", 8000),
        ("500kbit", 500_000),
        ("10mbit", 10_000_000),
        ("10 Mbit", 10_000_000),
        ("10MBIT/s", 10_000_000),
        ("1.5gbit", 1_500_000_000),
        ("1tbit", 10**12),
    ],
)
def test_bits_are_read_in_steps_of_1000(text: str, bits: int) -> None:
    assert units.parse_bits(text) == bits


@pytest.mark.parametrize(
    "text",
    ["", "10", "10m", "10M", "10mb", "10mbps", "10mbyte", "-1mbit", "1e3bit", "0.1bit", "inf",
     "0.0001kbit", "99999999999tbit", "9" * 5000 + "bit", "1mbit/m", "1\nmbit", "kbit"],
)  # fmt: skip
def test_what_may_be_bytes_or_is_no_number_of_bits_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"given.*allowed.*10mbit") as caught:
        units.parse_bits(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@given(st.text(alphabet="0123456789.kmgtbi/s ", max_size=15))
def test_any_text_is_a_number_of_bits_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert 0 <= units.parse_bits(text) <= units.MAX_INTEGER


@given(st.integers(0, 10**13))
def test_shown_bits_are_within_a_twentieth_of_a_unit_and_can_be_read(bits: int) -> None:
    text = units.format_bits(bits)
    scale = 1000 ** ("kMGT".find(text.split()[1][0]) + 1)
    assert abs(units.parse_bits(text) - bits) <= 0.0501 * scale
    assert float(text.split()[0]) < 1000 or text.endswith("Tbit")


@pytest.mark.parametrize(
    ("bits", "text"),
    [(0, "0 bit"), (999, "999 bit"), (8000, "8 kbit"), (1_500_000, "1.5 Mbit"),
     (999_960, "1 Mbit"), (10**9, "1 Gbit"), (10**15, "1000 Tbit")],
)  # fmt: skip
def test_bits_are_shown_in_the_largest_fitting_unit(bits: int, text: str) -> None:
    assert units.format_bits(bits) == text


@pytest.mark.parametrize(
    ("text", "millicpus"),
    [("1", 1000), ("0.5", 500), ("1.5", 1500), ("0.001", 1), ("2.5000", 2500)],
)
def test_cpus_are_read_in_thousandths(text: str, millicpus: int) -> None:
    assert units.parse_cpus(text) == millicpus


@pytest.mark.parametrize("text", ["", "0", "0.0", "-1", "nan", "inf", "1e2", "0.0001", "2 CPUs"])
def test_cpus_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"given.*allowed"):
        units.parse_cpus(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5s", 1.5),
        ("1.5", 1.5),
        ("250ms", 0.25),
        ("10m", 600),
        ("10min", 600),
        ("2h", 7200),
        ("1d", 86400),
        ("0.5h", 1800),
        ("1h30m", 5400),
        ("1d2h3m4.5s", 93784.5),
        ("1H30M", 5400),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "-10m", "nan", "inf", "1w", "30m1h", "1h1h", "1h30", "1.0001s", "0.1ms", "s",
     "1.5h30m", "9" * 5000, "\u0661s"],
)  # fmt: skip
def test_a_duration_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"given.*allowed"):
        units.parse_duration(text)


@pytest.mark.parametrize("text", ["0", "0s", "0m", "0h0m"])
def test_zero_is_a_duration_only_where_asked_for(text: str) -> None:
    assert units.parse_duration(text, zero=True) == 0
    with pytest.raises(ValueError, match="above 0"):
        units.parse_duration(text)


@given(st.text(alphabet="0123456789.dhms in-", max_size=15))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert units.parse_duration(text) > 0


@given(st.integers(1, 59_999))
def test_a_shown_duration_below_a_minute_reads_as_itself(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert units.parse_duration(units.format_duration(seconds)) == seconds


@given(st.integers(60, 3599))
def test_a_shown_duration_below_an_hour_reads_as_itself(seconds: int) -> None:
    assert units.parse_duration(units.format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("seconds", "text", "short"),
    [
        (0, "0 s", "0s"),
        (0.25, "0.25 s", "0s"),
        (10, "10 s", "10s"),
        (59.9996, "1 min", "59s"),
        (90, "1 min 30 s", "1m30s"),
        (3600, "1 h", "1h"),
        (7500, "2 h 5 min", "2h5m"),
        (273_600, "3 d 4 h", "3d4h"),
        (-3, "0 s", "0s"),
    ],
)
def test_a_duration_is_shown_in_two_units(seconds: float, text: str, short: str) -> None:
    assert units.format_duration(seconds) == text
    assert units.format_age(seconds) == short


def test_no_cpu_at_all_is_a_share_only_where_that_is_asked_for() -> None:
    assert units.parse_cpus("0", zero=True) == 0
    assert units.parse_cpus("0.5", zero=True) == 500
    with pytest.raises(ValueError, match=r"from 0\.01"):
        units.parse_cpus("0")
    with pytest.raises(ValueError, match="given"):
        units.parse_cpus("-1", zero=True)
