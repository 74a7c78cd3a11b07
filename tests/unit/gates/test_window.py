"""The window: open hours by the clock of a place, also across DST changes; the expected times were calculated by
hand."""

import sys
import zoneinfo
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from support.fakes.gate_cases import case_of, judged, policy_of, utc
from tallyman.domain.gates import PASSED, WAITING
from tallyman.domain.gates.window import WindowGate, zone_of
from tallyman.domain.times import format_time


def window(
    days: str = "mon-fri", between: str = "09:00-17:00", timezone: str = "America/Sao_Paulo", **more: Any
) -> Any:
    return {"window": {"days": days, "between": between, "timezone": timezone, **more}}


def result_at(moment: datetime, gates: Any) -> Any:
    return judged("window", case_of(policy=policy_of(gates), now=moment))


def gate(gates: Any) -> WindowGate:
    config = policy_of(gates).repositories[0].promotions[0].gates["window"]
    assert isinstance(config, WindowGate)
    return config


@pytest.mark.parametrize(
    ("moment", "verdict"),
    [
        ("2026-11-16 11:59:59", WAITING),  # Monday 08:59:59 in São Paulo
        ("2026-11-16 12:00:00", PASSED),
        ("2026-11-16 19:59:59", PASSED),
        ("2026-11-16 20:00:00", WAITING),
        ("2026-11-21 12:00:00", WAITING),  # Saturday
        ("2026-11-22 12:00:00", WAITING),
    ],
)
def test_the_window_is_open_from_its_first_minute_to_its_last(moment: str, verdict: str) -> None:
    assert result_at(utc(moment), window()).verdict == verdict


@pytest.mark.parametrize(
    ("moment", "opens"),
    [
        ("2026-11-16 11:00", "2026-11-16T12:00:00Z"),
        ("2026-11-16 20:00", "2026-11-17T12:00:00Z"),
        ("2026-11-20 20:00", "2026-11-23T12:00:00Z"),  # from Friday evening to Monday
        ("2026-11-22 23:59", "2026-11-23T12:00:00Z"),
    ],
)
def test_a_closed_window_names_its_next_opening(moment: str, opens: str) -> None:
    result = result_at(utc(moment), window())
    assert result.until is not None
    assert format_time(result.until) == result.facts["opens"] == opens
    assert result.reason == f"the window is closed: it opens at {opens}"
    assert result.held


def test_it_stays_closed_on_holidays() -> None:
    gates = window(holidays=["2026-12-25", "2026-12-28"])
    result = result_at(utc("2026-12-25 13:00"), gates)
    assert result.verdict == WAITING
    assert result.reason == "the window is closed, a holiday: it opens at 2026-12-29T12:00:00Z"


@pytest.mark.parametrize(
    ("moment", "verdict", "opens"),
    [
        ("2026-11-16 23:00", PASSED, None),
        ("2026-11-17 05:59", PASSED, None),
        ("2026-11-17 06:00", WAITING, "2026-11-17T22:00:00Z"),
        ("2026-11-16 05:00", WAITING, "2026-11-16T22:00:00Z"),  # Sunday's night is not included
        ("2026-11-21 05:00", PASSED, None),  # Friday's night extends into Saturday
        ("2026-11-21 23:00", WAITING, "2026-11-23T22:00:00Z"),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_that_it_starts_on(
    moment: str, verdict: str, opens: str | None
) -> None:
    result = result_at(utc(moment), window(between="22:00-06:00", timezone="UTC"))
    assert (result.verdict, result.facts.get("opens")) == (verdict, opens)


def test_a_window_that_ends_when_it_starts_is_open_for_a_day() -> None:
    gates = window("mon", "00:00-00:00", "UTC")
    assert result_at(utc("2026-11-16 23:59"), gates).verdict == PASSED
    assert result_at(utc("2026-11-17 00:00"), gates).verdict == WAITING


def test_local_time_counts_in_summer_and_in_winter() -> None:
    gates = window(timezone="Europe/Berlin")
    assert result_at(utc("2026-01-15 08:00"), gates).verdict == PASSED  # 09:00 in winter
    assert result_at(utc("2026-01-15 07:59"), gates).verdict == WAITING
    assert result_at(utc("2026-07-15 07:00"), gates).verdict == PASSED  # 09:00 in summer
    assert result_at(utc("2026-07-15 15:00"), gates).verdict == WAITING


def test_the_opening_after_a_clock_change_uses_the_new_offset() -> None:
    # Berlin's clock goes back on 2026-10-25: Monday's 09:00 is an hour later in UTC than Friday's
    result = result_at(utc("2026-10-24 12:00"), window(timezone="Europe/Berlin"))
    assert result.facts["opens"] == "2026-10-26T08:00:00Z"
    assert result_at(utc("2026-10-23 16:00"), window(timezone="Europe/Berlin")).facts["opens"] == "2026-10-26T08:00:00Z"
    assert result_at(utc("2026-10-22 16:00"), window(timezone="Europe/Berlin")).facts["opens"] == "2026-10-23T07:00:00Z"


def test_an_opening_in_a_skipped_hour_is_at_the_clock_change() -> None:
    # New York skips from 02:00 to 03:00 on 2026-03-08, at 07:00 UTC
    gates = window("sun", "02:30-04:00", "America/New_York")
    result = result_at(utc("2026-03-08 05:00"), gates)
    assert result.facts["opens"] == "2026-03-08T07:00:00Z"
    assert result_at(utc("2026-03-08 06:59:59"), gates).verdict == WAITING
    assert result_at(utc("2026-03-08 07:00"), gates).verdict == PASSED
    assert result_at(utc("2026-03-08 08:00"), gates).verdict == WAITING


def test_a_window_inside_a_skipped_hour_does_not_open_that_day() -> None:
    gates = window("sun", "02:00-03:00", "America/New_York")
    assert result_at(utc("2026-03-08 05:00"), gates).facts["opens"] == "2026-03-15T06:00:00Z"


def test_an_hour_that_comes_twice_is_open_twice() -> None:
    # New York shows 01:00 to 02:00 twice on 2026-11-01, from 05:00 and from 06:00 UTC
    gates = window("sun", "01:00-01:30", "America/New_York")
    moments = ["05:00", "05:29", "05:30", "06:00", "06:29", "06:30"]
    verdicts = [result_at(utc(f"2026-11-01 {m}"), gates).verdict for m in moments]
    assert verdicts == [PASSED, PASSED, WAITING, PASSED, PASSED, WAITING]
    assert result_at(utc("2026-11-01 05:45"), gates).facts["opens"] == "2026-11-01T06:00:00Z"


def test_an_open_window_names_its_closing() -> None:
    assert result_at(utc("2026-11-16 15:30:12"), window()).facts["closes"] == "2026-11-16T20:00:00Z"


def test_a_window_without_any_day_never_opens_and_says_so() -> None:
    config = WindowGate(frozenset(), datetime.min.time(), datetime.max.time(), "UTC")
    assert config.next_opening(utc("2026-11-16 12:00"), ZoneInfo("UTC")) is None


def test_ranges_of_days_may_cross_the_weekend() -> None:
    assert gate(window("fri-mon,wed")).days == {4, 5, 6, 0, 2}
    assert gate(window("mon")).days == {0}


@pytest.fixture
def no_system_data() -> Any:
    """A machine without its own time-zone data, as a function's runtime may be."""
    paths = zoneinfo.TZPATH
    ZoneInfo.clear_cache()
    zoneinfo.reset_tzpath(to=())
    yield
    zoneinfo.reset_tzpath(to=paths)
    ZoneInfo.clear_cache()


def test_the_layers_own_time_zones_are_used_if_the_machine_has_none(no_system_data: None) -> None:
    assert zone_of("America/Sao_Paulo") is not None
    assert result_at(utc("2026-11-16 12:00"), window()).verdict == PASSED


def test_without_time_zones_the_window_stays_closed_with_a_reason(
    no_system_data: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ["tzdata", *(name for name in sys.modules if name.startswith("tzdata."))]:
        monkeypatch.setitem(sys.modules, name, None)
    ZoneInfo.clear_cache()
    for moment in ("2026-11-16 12:00", "2026-11-16 03:00"):
        result = result_at(utc(moment), window())
        assert result.verdict == WAITING
        assert "no data for the time zone America/Sao_Paulo" in result.reason
        assert result.until is None
        assert result.held


def test_an_unknown_time_zone_causes_a_warning_and_stays_closed() -> None:
    policy = policy_of(window(timezone="America/Sao_Paolo"))
    assert policy.warnings == (
        "tallyman.yaml: repositories[0].promotions[0].gates.window.timezone: no such time zone is known on this "
        "machine (America/Sao_Paolo): where that is so, the window stays closed",
    )
    assert judged("window", case_of(policy=policy)).verdict == WAITING


@pytest.mark.parametrize("name", ["Europe", "../etc/passwd", "/etc/localtime", "", "Nowhere/At_All"])
def test_an_invalid_time_zone_is_refused(name: str) -> None:
    assert zone_of(name) is None
