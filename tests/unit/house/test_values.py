"""`tallyman.domain.values.dataclass` creates what `dataclasses.dataclass` creates, but lazily."""

import copy
import dataclasses
import inspect
import pickle
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest

from tallyman.values import value


@value
class Ours:
    first: str
    second: int = 2
    third: list[str] = field(default_factory=list, compare=False, repr=False)
    fourth: str = field(default="kept", init=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Theirs:
    first: str
    second: int = 2
    third: list[str] = field(default_factory=list, compare=False, repr=False)
    fourth: str = field(default="kept", init=False)


@value(slots=False)
class Checked:
    """A value that validates itself, computes a field once, and compares by one field."""

    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("negative")

    @cached_property
    def double(self) -> int:
        return self.size * 2


@value
class Own:
    size: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own)

    def __hash__(self) -> int:
        return 7

    def __repr__(self) -> str:
        return "own"


@pytest.mark.parametrize("handed", [{}, {"second": 3}, {"second": 3, "third": ["a"]}])
def test_values_behave_like_standard_dataclasses(handed: dict[str, Any]) -> None:
    ours, theirs = Ours("a", **handed), Theirs("a", **handed)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert [f.name for f in dataclasses.fields(Ours)] == [f.name for f in dataclasses.fields(Theirs)]
    assert Ours.__match_args__ == Theirs.__match_args__
    assert vars(Ours)["__slots__"] == vars(Theirs)["__slots__"]
    assert [*inspect.signature(Ours).parameters] == [*inspect.signature(Theirs).parameters]


@pytest.mark.parametrize(("args", "named"), [((), {}), (("a", 1, [], "kept"), {}), (("a",), {"unknown": 1})])
def test_a_wrong_call_is_refused(args: tuple[Any, ...], named: dict[str, Any]) -> None:
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError):
            kind(*args, **named)


def test_equal_values_are_equal_and_have_one_hash() -> None:
    assert Ours("a", third=["x"]) == Ours("a") != Ours("b")
    assert Counter([Ours("a"), Ours("a"), Ours("b")])[Ours("a")] == 2
    assert Checked(1) == Checked(1) != Checked(2)
    assert len({Checked(1), Checked(1), Checked(2)}) == 2
    of_another_class: object = Theirs("a")
    assert Ours("a") != of_another_class


@pytest.mark.parametrize("value", [Ours("a"), Checked(1)])
def test_a_value_never_changes(value: Any) -> None:
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, "other")
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.more = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(value, name)


def test_a_value_with_slots_has_no_dict_and_one_without_computes_once() -> None:
    assert not hasattr(Ours("a"), "__dict__")
    one = Checked(4)
    assert one.double == 8
    assert one.__dict__["double"] == 8


def test_default_factories_are_not_shared() -> None:
    assert Ours("a").third is not Ours("a").third


def test_a_values_post_init_runs_each_time() -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="negative"):
            Checked(-1)
    with pytest.raises(ValueError, match="negative"):
        dataclasses.replace(Checked(1), size=-1)


def test_a_class_keeps_its_own_methods() -> None:
    assert (Own(1) == Own(2), hash(Own(1)), repr(Own(1))) == (True, 7, "own")


def test_values_are_copied_and_pickled() -> None:
    value = Ours("a", 5, ["x"])
    for other in (copy.deepcopy(value), pickle.loads(pickle.dumps(value)), dataclasses.replace(value)):
        assert other == value
        assert other.third == ["x"]


def test_an_unfrozen_class_is_a_standard_dataclass() -> None:
    @dataclass
    class Plain:
        size: int

    one = Plain(1)
    one.size = 2
    assert one == Plain(2)
