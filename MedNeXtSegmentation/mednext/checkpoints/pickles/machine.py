"""A machine that follows a pickle's instructions, and can only build plain values.

Python's own unpickler calls any function that a file names, and sets the state of any object that it has
built; numpy's and torch's classes trust that state, so that a file can end the process. This machine knows
the instructions that picklers write for data, calls the few constructors of its table only, and counts its
instructions.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

from ...system.json_reading import is_unicode
from .inert import Inert
from .values import Constructor, Stateful, check_key

_MAX_INSTRUCTIONS = 4_000_000  # plans of ten thousand cases have one million
_MAX_INTEGER_BITS = 4096

_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_TEXTS = (
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
)
_OTHERS = ("FLOAT", "BINFLOAT", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")


class DamagedPickleError(Exception):
    """The instructions are impossible, or build more than a checkpoint has."""


@dataclass
class UnknownNameError(Exception):
    """A pickle uses a name that is not in the table."""

    name: str


class PickleMachine:
    """Builds the value of one pickle.

    Args:
        names: the values of the global names that a pickle may use; `Constructor`s among them may be called.
        stored: returns the value of a reference out of the pickle.
        passes_over: whether an unknown name becomes an `Inert`, which is never looked up.
    """

    def __init__(
        self,
        names: Mapping[str, Any],
        stored: Callable[[Any], Any] | None = None,
        passes_over: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self._names = names
        self._stored = stored
        self._passes_over = passes_over
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        push = self._push
        self._actions: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
            "NONE": lambda _: push(None),
            "NEWTRUE": lambda _: push(True),
            "NEWFALSE": lambda _: push(False),
            "EMPTY_LIST": lambda _: push([]),
            "EMPTY_DICT": lambda _: push({}),
            "EMPTY_TUPLE": lambda _: push(()),
            "EMPTY_SET": lambda _: push(set()),
            "TUPLE1": lambda _: push(tuple(self._pop(1))),
            "TUPLE2": lambda _: push(tuple(self._pop(2))),
            "TUPLE3": lambda _: push(tuple(self._pop(3))),
            "MARK": self._mark,
            "LIST": lambda _: push(self._since_mark()),
            "TUPLE": lambda _: push(tuple(self._since_mark())),
            "DICT": lambda _: push(_with_items({}, self._since_mark())),
            "FROZENSET": lambda _: push(frozenset(map(check_key, self._since_mark()))),
            "APPEND": lambda _: self._extend(self._pop(1)),
            "APPENDS": lambda _: self._extend(self._since_mark()),
            "SETITEM": lambda _: self._set_items(self._pop(2)),
            "SETITEMS": lambda _: self._set_items(self._since_mark()),
            "ADDITEMS": self._add_items,
            "MEMOIZE": lambda _: self._put(len(self._memo)),
            "GLOBAL": lambda argument: push(self._named(argument.replace(" ", ".", 1))),
            "STACK_GLOBAL": self._stack_global,
            "REDUCE": self._reduce,
            "NEWOBJ": lambda _: self._new(self._pop(2)),
            "NEWOBJ_EX": lambda _: self._new(self._pop(3)),
            "BUILD": self._build,
            "PERSID": self._refer,
            "BINPERSID": lambda _: self._refer(self._pop(1)[0]),
        }
        self._actions |= dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self._put)
        self._actions |= dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), self._get)
        self._actions |= dict.fromkeys(_TEXTS, self._text)
        self._actions |= dict.fromkeys(_INTEGERS, self._integer)
        self._actions |= dict.fromkeys(_OTHERS, push)

    def run(self, file: IO[bytes]) -> Any:
        """The value of the pickle that begins at the file's position; the position is behind it then.

        Raises:
            UnknownNameError: a name is not in the table; no code of it was run.
            DamagedPickleError, or any other exception: the file is damaged.
        """
        for count, (code, argument, _) in enumerate(pickletools.genops(file)):
            if count > _MAX_INSTRUCTIONS:
                raise DamagedPickleError(f"more than {_MAX_INSTRUCTIONS} instructions")
            if code.name == "STOP":
                break
            if code.name not in self._actions:
                raise DamagedPickleError(f"the instruction {code.name}, which no data needs")
            self._actions[code.name](argument)
        if len(self._stack) != 1 or self._marked:
            raise DamagedPickleError("it ends in the middle of a value")
        return self._stack.pop()

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _text(self, value: str) -> None:
        if not is_unicode(value):
            raise DamagedPickleError("a text has half of a character")
        self._stack.append(value)

    def _integer(self, value: int) -> None:
        if value.bit_length() > _MAX_INTEGER_BITS:
            raise DamagedPickleError(f"a number of {value.bit_length()} bits")
        self._stack.append(value)

    def _pop(self, count: int) -> list[Any]:
        """The topmost values, removed from the stack."""
        if len(self._stack) < count:
            raise DamagedPickleError("an instruction lacks its values")
        values = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return values

    def _since_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._marked.pop()
        return values

    def _put(self, number: int) -> None:
        self._memo[number] = self._stack[-1]

    def _get(self, number: int) -> None:
        value = self._memo[number]
        self._stack.append(value.finished() if isinstance(value, Stateful) else value)

    def _mark(self, _argument: None) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], Inert):
            _of_type(self._stack[-1], list).extend(values)

    def _set_items(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], Inert):
            _with_items(self._stack[-1], values)

    def _add_items(self, _argument: None) -> None:
        values = self._since_mark()
        if not isinstance(self._stack[-1], Inert):
            _of_type(self._stack[-1], set).update(map(check_key, values))

    def _stack_global(self, _argument: None) -> None:
        module, name = self._pop(2)
        self._stack.append(self._named(f"{_of_type(module, str)}.{_of_type(name, str)}"))

    def _named(self, name: str) -> Any:
        if name in self._names:
            return self._names[name]
        if not self._passes_over(name):
            raise UnknownNameError(name)
        return Inert(name)

    def _reduce(self, _argument: None) -> None:
        function, arguments = self._pop(2)
        arguments = _of_type(arguments, tuple)
        self._stack.append(
            function if isinstance(function, Inert) else _of_type(function, Constructor).build(*arguments)
        )

    def _new(self, values: list[Any]) -> None:
        """Make an object of a class that is passed over; all others are made by calls."""
        self._stack.append(_of_type(values[0], Inert))

    def _build(self, _argument: None) -> None:
        (state,) = self._pop(1)
        value = self._stack[-1]
        if isinstance(value, Stateful):
            value.set_state(state)
            self._stack[-1] = value.finished()
        elif not isinstance(value, dict | Inert):  # attributes of an OrderedDict are skipped
            raise DamagedPickleError(f"a state for a {type(value).__name__}")

    def _refer(self, reference: Any) -> None:
        if self._stored is None:
            raise DamagedPickleError("a reference to an object outside of the file")
        self._stack.append(self._stored(reference))


def _of_type(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise DamagedPickleError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _with_items(target: Any, values: list[Any]) -> dict[Any, Any]:
    """Add a list of alternating keys and values to a dictionary, and return it."""
    keys, items = values[::2], values[1::2]
    if len(keys) != len(items):
        raise DamagedPickleError("a key without a value")
    target = _of_type(target, dict)
    target.update(
        (check_key(key), item) for key, item in zip(keys, items, strict=True) if not isinstance(key, Inert)
    )
    return target
