"""The number of streams of a copy, chosen by measurement; and its progress display."""

import io
import threading

import pytest

from support.images.builders import PROD, digest_of
from tallyman.services.copying.streams import MOST, Streams, beginning
from tallyman_cli.copy.progress import Counting, shown


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def carried(streams: Streams, clock: Clock, rate_of: "dict[int, float] | float", moments: int) -> list[int]:
    """The limits over time if `rate_of` streams carry so many bytes a second; all of them busy."""
    seen = []
    for _ in range(moments):
        clock.now += 0.3
        streams._active = streams.limit
        rate = rate_of[streams.limit] if isinstance(rate_of, dict) else rate_of
        streams.count(int(rate * 0.3))
        seen.append(streams.limit)
    return seen


@pytest.mark.parametrize(
    ("sizes", "streams"),
    [
        ([], MOST),
        ([20_000] * 80, MOST),  # many small requests
        ([5_000_000] * 24, 6),
        ([5_000_000] * 10, 5),  # five, and again five: none is left over
        ([5_000_000] * 3, 3),
        ([150_000_000] * 10, 2),
        ([150_000_000], 1),
    ],
)
def test_the_first_number_of_streams_depends_on_the_sizes_of_blobs(sizes: list[int], streams: int) -> None:
    assert beginning(sizes) == streams


def test_streams_are_added_while_throughput_grows() -> None:
    clock = Clock()
    limits = carried(Streams(4, clock=clock), clock, {n: n * 1e6 for n in range(MOST + 1)}, 12)
    assert limits[-1] == MOST
    assert limits == sorted(limits)


def test_without_more_throughput_the_number_of_streams_returns() -> None:
    clock = Clock()
    limits = carried(Streams(4, clock=clock), clock, 50e6, 40)
    assert limits[:2] == [6, 4]
    assert limits.count(4) > 30


def test_if_the_processor_is_the_limit_no_streams_are_added() -> None:
    clock = Clock()
    assert set(carried(Streams(2, clock=clock), clock, 500e6, 40)) == {2}


def test_streams_are_added_again_after_a_slow_period() -> None:
    clock = Clock()
    streams = Streams(8, clock=clock)
    carried(streams, clock, {n: n * 1e6 for n in range(MOST + 1)}, 9)
    assert carried(streams, clock, 1e6, 9)[-1] < MOST
    assert carried(streams, clock, {n: n * 1e6 for n in range(MOST + 1)}, 40)[-1] == MOST


def test_streams_are_removed_if_more_reduce_throughput() -> None:
    clock = Clock()
    rates = {n: 50e6 if n <= 6 else 10e6 for n in range(MOST + 1)}
    limits = carried(Streams(6, clock=clock), clock, rates, 20)
    assert limits[-1] <= 7


def test_concurrent_work_stays_within_the_limit() -> None:
    streams = Streams(2, most=2)
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with streams.one():
            with lock:
                inside += 1
                most = max(most, inside)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 2


def test_progress_shows_each_target_and_its_layers() -> None:
    counting = Counting()
    first, second = digest_of("a"), digest_of("b")
    counting.lacking(PROD, {first: 1_000_000, second: 500}, 3)
    counting.sent(PROD, first, 250_000)
    counting.sent(PROD, second, 500)
    counting.uploaded(PROD, second, 500)
    head, layer = counting.lines()
    assert head.startswith(f"{PROD}: 250.5 kB of 1.0 MB, ")
    assert head.endswith("1 of 2 blobs, 3 there")
    assert layer == f"  {first[:19]}  25 % of 1.0 MB"


def test_without_a_terminal_no_progress_is_drawn() -> None:
    stream = io.StringIO()
    with shown(Counting(), stream):
        pass
    assert stream.getvalue() == ""
