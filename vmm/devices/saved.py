"""The state of devices as plain data, so that a machine can be saved and go on elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

#: Numbers, None, lists of numbers, and for the parts of a device the same again.
State = dict[str, Any]


#: More than any guest time, in ns, and than any number that goes on with it.
MOST_TIME = 1 << 60


def limits(**numbers: int) -> Mapping[str, int]:
    """What `Saved.most` and `Saved.longest` are made of."""
    return MappingProxyType(numbers)


class Saved:
    """Something with state: the attributes that `saved` names.

    They hold int, bool or None, or lists of int, or are `Saved` themselves, or lists of such.
    Whatever follows from them, such as a timer's deadline, is made anew by `restored`.

    A state may come from anywhere, so it is checked. A number is at least 0 and at most what `most`
    says, else a byte; where it says below 0, the number may be as much below. A list is as long as
    the present one, or at most as `longest` says; only what `optional` names may be None.
    """

    saved: ClassVar[tuple[str, ...]] = ()
    most: ClassVar[Mapping[str, int]] = limits()
    longest: ClassVar[Mapping[str, int]] = limits()
    optional: ClassVar[frozenset[str]] = frozenset()

    def save(self) -> State:
        """The state, in types that JSON knows."""
        return {name: _plain(getattr(self, name)) for name in self.saved}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `save` gave of a device of the same kind.

        Raises ValueError, and changes nothing, for anything else.
        """
        self.check(state)
        self._take_over(state)

    def check(self, state: object) -> None:
        """Raises ValueError for what is not the state of a device of this kind."""
        kind = type(self).__name__
        if not isinstance(state, Mapping):
            raise ValueError(f"not the state of a {kind}: it has no names")
        if set(state) != set(self.saved):
            names = ", ".join(sorted(set(state) ^ set(self.saved)))
            raise ValueError(f"not the state of a {kind}: see {names}")
        for name in self.saved:
            if not self._fits(name, getattr(self, name), state[name]):
                raise ValueError(f"not the state of a {kind}: see {name}")

    def _fits(self, name: str, own: object, value: object) -> bool:
        """Whether a value can be that of the attribute, which has another one of its own now."""
        if isinstance(own, Saved):
            own.check(value)
            return True
        if isinstance(own, list):
            if not isinstance(value, list):
                return False
            if name not in self.longest:
                return len(value) == len(own) and all(
                    self._fits(name, part, each) for part, each in zip(own, value, strict=True)
                )
            return len(value) <= self.longest[name] and all(
                self._fits(name, 0, each) for each in value
            )
        if value is None:
            return name in self.optional or own is None
        if isinstance(own, bool) or isinstance(value, bool):
            return isinstance(own, bool) and isinstance(value, bool)
        most = self.most.get(name, 0xFF)
        return isinstance(value, int) and min(0, most) <= value <= abs(most)

    def _take_over(self, state: Mapping[str, Any]) -> None:
        for name in self.saved:
            own = getattr(self, name)
            if isinstance(own, Saved):
                own._take_over(state[name])
            elif isinstance(own, list) and own and isinstance(own[0], Saved):
                for part, value in zip(own, state[name], strict=True):
                    part._take_over(value)
            else:
                setattr(self, name, _plain(state[name]))
        self.restored()

    def restored(self) -> None:
        """Make anew what follows from the state."""


def _plain(value: Any) -> Any:
    if isinstance(value, Saved):
        return value.save()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
