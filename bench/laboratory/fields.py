"""Whether plain values, as they come out of a file, are what a dataclass has."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints


def checked(kind: type, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """`values`, if each is of the type of its field; unknown names are left to the constructor.

    Raises TypeError, which names the field.
    """
    hints = get_type_hints(kind)
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            raise TypeError(f"{name} cannot be {value!r}")
    return values


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is UnionType:
        return any(_fits(value, one) for one in get_args(hint))
    if get_origin(hint) is Mapping:
        names, values = get_args(hint)
        return isinstance(value, Mapping) and all(
            _fits(name, names) and _fits(one, values) for name, one in value.items()
        )
    if hint is None or hint is NoneType:
        return value is None
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, int | float if hint is float else hint)
