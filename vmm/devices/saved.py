"""The state of devices as plain data, so that a machine can be saved and go on elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

#: Numbers, None, lists of numbers, and for the parts of a device the same again.
State = dict[str, Any]


class Saved:
    """Something with state: the attributes that `saved` names.

    They hold int, bool or None, or lists of int, or are `Saved` themselves, or lists of such.
    Whatever follows from them, such as a timer's deadline, is made anew by `restored`.
    """

    saved: ClassVar[tuple[str, ...]] = ()

    def save(self) -> State:
        """The state, in types that JSON knows."""
        return {name: _plain(getattr(self, name)) for name in self.saved}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `save` gave of a device of the same kind.

        Raises ValueError when the names are not those of this device.
        """
        if set(state) != set(self.saved):
            names = ", ".join(sorted(set(state) ^ set(self.saved)))
            raise ValueError(f"not the state of a {type(self).__name__}: see {names}")
        for name in self.saved:
            own = getattr(self, name)
            if isinstance(own, Saved):
                own.restore(state[name])
            elif isinstance(own, list) and own and isinstance(own[0], Saved):
                for part, value in zip(own, state[name], strict=True):
                    part.restore(value)
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
