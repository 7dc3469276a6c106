"""Fields and groups of fields: what one declaration says, and what assigning to it checks.

    class LogConfig(Group, path="log"):
        every_steps: int = field(20, "write training metrics after this many steps", AT_LEAST_ONE, free=True)

Type, default, comment, rules, choices, and whether a resumed run may change the value: all of it stands here once. The
flags, the checks, the comparison of a resumed run with its recording and docs/configuration.md follow from it.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import operator
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from seg_jax.config.errors import ConfigError, UnknownFieldError, did_you_mean

T = TypeVar("T")
G = TypeVar("G", bound="Group")

Size = tuple[int, int]  # (height, width) in pixels

KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "text", tuple: "a tuple"}


@dataclasses.dataclass(frozen=True)
class Rule:
    """What a value must be, whatever the other fields are.

    Attributes:
      holds: whether a value fits.
      rule: that in words, for the message.
      cure: what to write instead.
    """

    holds: Callable[[Any], bool]
    rule: str
    cure: str


@dataclasses.dataclass(frozen=True)
class Spec:
    """The declaration of one field, besides its type and default.

    Attributes:
      comment: one line for people.
      rules: checked in this order.
      choices: the values that are allowed; () for any.
      names: where the allowed names are the keys of a table, that table: 'seg_jax.optim:OPTIMIZERS'.
      free: whether a resumed run may have another value; it then moves files or pictures, not parameters.
    """

    comment: str
    rules: tuple[Rule, ...] = ()
    choices: tuple[str, ...] = ()
    names: str = ""
    free: bool = False


def field(
    default: T, comment: str, *rules: Rule, choices: tuple[str, ...] = (), names: str = "", free: bool = False
) -> T:
    """Declares a field; see `Spec`."""
    spec = Spec(comment, rules, choices, names, free)
    declared: Any = dataclasses.field(default=default, metadata={"spec": spec})
    return declared


def group(kind: type[G]) -> G:
    """Declares a group inside of another."""
    declared: Any = dataclasses.field(default_factory=kind)
    return declared


@typing.dataclass_transform(kw_only_default=True, eq_default=False)
class Group:
    """Base of the groups: each subclass is a dataclass, which knows its place in the whole (`path`).

    Assigning checks the name and the type, so that a misspelled field of a configuration file is an error in the line
    that has it. Rules are checked when the whole is, see `check.checked`, which also seals it.
    """

    path: ClassVar[str] = ""
    _kinds: ClassVar[dict[str, Any]] = {}  # type of each field and group
    _sealed: ClassVar[bool] = False

    def __init_subclass__(cls, *, path: str) -> None:
        super().__init_subclass__()
        cls.path = path
        dataclasses.dataclass(eq=False, kw_only=True)(cls)
        hints = typing.get_type_hints(cls)
        cls._kinds = {declared.name: hints[declared.name] for declared in dataclasses.fields(cls)}  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and dict(self.items()) == dict(other.items())

    def __hash__(self) -> int:  # by value: not to be changed while it is a key
        return hash(tuple(self.items()))

    @classmethod
    def spell(cls, name: str) -> str:
        """How the user spells a field of this group: 'optim.lr'."""
        return f"{cls.path}.{name}" if cls.path else name

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._kinds:
            raise self._unknown(name)
        if self._sealed:
            raise ConfigError(
                f"config.{self.spell(name)} cannot be changed to {value!r}: a checked configuration stays as it is. "
                "Use config.with_fields, which gives another one."
            )
        object.__setattr__(
            self, name, _typed(value, self._kinds[name], self.spell(name), getattr(type(self), name, None))
        )

    if not TYPE_CHECKING:  # a type checker shall know the fields, and no others

        def __getattr__(self, name: str) -> Any:
            raise self._unknown(name)

    # What files know from ml_collections: c["train"]["steps"] = 5, c.augment.update(flip=0.0), dict(c.loss.weights).

    def __getitem__(self, name: str) -> Any:
        if name not in self._kinds:
            raise self._unknown(name)
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def keys(self) -> Iterator[str]:
        """The names of the fields and groups."""
        return iter(self)

    def _unknown(self, name: str) -> UnknownFieldError:
        place = f"config.{self.path}" if self.path else "config"
        near = did_you_mean(name, self._kinds).replace("'", '"')
        return UnknownFieldError(f'{place} has no field "{name}".{near}')

    def items(self) -> Iterator[tuple[str, Any]]:
        """(name, value) of every field and group."""
        return ((name, getattr(self, name)) for name in self)

    def to_dict(self) -> dict[str, Any]:
        """Nested dicts of the values."""
        return {name: value.to_dict() if isinstance(value, Group) else value for name, value in self.items()}

    def update(self, fields: Any = (), **named: Any) -> None:
        """Sets fields and groups from a mapping, which may be nested, or by name."""
        for name, value in (dict(fields) | named).items():
            if isinstance(mine := self[name], Group) and hasattr(value, "items"):
                mine.update(value)
            else:
                setattr(self, name, value)

    def update_from_flattened_dict(self, fields: Mapping[str, Any]) -> None:
        """Sets fields by their full names: {'optim.lr': 0.1}."""
        for name, value in fields.items():
            *groups, last = name.split(".")
            setattr(functools.reduce(operator.getitem, groups, self), last, value)

    def copy(self) -> Self:
        """A copy that may be changed."""
        other = copy.deepcopy(self)
        other.seal(False)
        return other

    def seal(self, sealed: bool = True) -> Self:
        """Itself, after which it cannot be changed."""
        object.__setattr__(self, "_sealed", sealed)
        for _, value in self.items():
            if isinstance(value, Group):
                value.seal(sealed)
        return self


def declarations(kind: type[Group]) -> Iterator[tuple[str, Any, Any, Spec]]:
    """(full name, type, default, declaration) of every field of a group, and of the groups inside."""
    for declared in dataclasses.fields(kind):  # type: ignore[arg-type]
        if spec := declared.metadata.get("spec"):
            yield kind.spell(declared.name), kind._kinds[declared.name], declared.default, spec
        else:
            yield from declarations(kind._kinds[declared.name])


def fits(value: Any, kind: Any) -> bool:
    """Whether a value, and everything in a tuple, is of the declared type, and finite."""
    if typing.get_origin(kind) is not tuple:
        allowed = typing.get_args(kind) or (kind,)
        if type(value) is int and float in allowed:
            return True
        return type(value) in allowed and (type(value) is not float or math.isfinite(value))
    if type(value) is not tuple:
        return False
    inner = typing.get_args(kind)
    if inner[-1] is Ellipsis:
        inner = (inner[0],) * len(value)
    return len(value) == len(inner) and all(map(fits, value, inner))


def _typed(value: Any, kind: Any, field: str, default: Any) -> Any:
    """`value` as the type of the field: whole numbers become floats, lists tuples."""
    if isinstance(kind, type) and issubclass(kind, Group):
        if isinstance(value, kind):
            return value
        if hasattr(value, "items"):
            made = kind()
            made.update(value)
            return made
        raise ConfigError(f"config.{field} = {value!r}: this is a group of fields. Set config.{field}.NAME instead.")
    value, plain = _plain(value), typing.get_origin(kind) or kind
    if plain is tuple and isinstance(value, list | tuple):
        return _tuple(value)
    if plain is float and type(value) is int:
        return float(value)
    if type(value) is not plain:
        raise wrong_type(field, value, plain, default)
    return value


def wrong_type(field: str, value: Any, kind: Any, default: Any) -> ConfigError:
    """The error for a value of another type than its field has."""
    words = KINDS[typing.get_origin(kind) or kind]
    return ConfigError(f"config.{field} = {value!r}: this is {words}. Use a value such as {default!r}.")


def _tuple(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_tuple, value))
    return _plain(value)


def _plain(value: Any) -> Any:
    return value.item() if getattr(value, "ndim", None) == 0 else value  # a number of NumPy
