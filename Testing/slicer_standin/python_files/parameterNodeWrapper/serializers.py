"""How a value of each type is kept in a parameter node: as text, or as a reference to a node."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Iterable, MutableSequence
from pathlib import Path
from typing import Any

import slicer

from .annotations import IsInstance, NotNone, Validator, split_annotations

ParameterNode = slicer.vtkMRMLScriptedModuleNode


class Serializer:
    """Values that are one text."""

    def __init__(
        self,
        default: Any,
        to_text: Callable[[Any], str],
        from_text: Callable[[str], Any],
        *validators: Validator,
    ) -> None:
        self._default, self._to_text, self._from_text = default, to_text, from_text
        self.validators = list(validators)

    def default(self) -> Any:
        return self._default

    def isIn(self, node: ParameterNode, name: str) -> bool:
        return bool(node.HasParameter(name))

    def validate(self, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)

    def write(self, node: ParameterNode, name: str, value: Any) -> None:
        self.validate(value)
        node.SetParameter(name, self._to_text(value))

    def read(self, node: ParameterNode, name: str) -> Any:
        return self._from_text(node.GetParameter(name))

    def remove(self, node: ParameterNode, name: str) -> None:
        node.UnsetParameter(name)


class NodeSerializer(Serializer):
    """A node of the scene or None, as a reference whose role is the field's name."""

    def __init__(self, node_class: type) -> None:
        super().__init__(None, str, str, IsInstance(node_class))

    def write(self, node: ParameterNode, name: str, value: Any) -> None:
        self.validate(value)
        # None is a value too, so the parameter says that there is one.
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: ParameterNode, name: str) -> Any:
        return node.GetNodeReference(name)

    def remove(self, node: ParameterNode, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class UnionSerializer(Serializer):
    """One of several types: the n-th is kept as `name.n`."""

    def __init__(self, members: list[Serializer]) -> None:
        super().__init__(None, str, str)
        self._members = members

    def default(self) -> Any:
        return None if len(self._members) == 2 and _is_none(self._members[1]) else self._members[0].default()

    def isIn(self, node: ParameterNode, name: str) -> bool:
        return any(member.isIn(node, f"{name}.{n}") for n, member in enumerate(self._members))

    def write(self, node: ParameterNode, name: str, value: Any) -> None:
        self.validate(value)
        index = self._index_for(value)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            self._members[index].write(node, f"{name}.{index}", value)

    def _index_for(self, value: Any) -> int:
        for index, member in enumerate(self._members):
            try:
                if (value is None) == _is_none(member):
                    member.validate(value)
                    return index
            except (TypeError, ValueError):
                continue
        raise TypeError(f"Unable to write value '{value}' of type '{type(value)}'")

    def read(self, node: ParameterNode, name: str) -> Any:
        for index, member in enumerate(self._members):
            if member.isIn(node, f"{name}.{index}"):
                return member.read(node, f"{name}.{index}")
        raise KeyError(f"Unable to find value for name: {name}")

    def remove(self, node: ParameterNode, name: str) -> None:
        for index, member in enumerate(self._members):
            member.remove(node, f"{name}.{index}")


class ListSerializer(Serializer):
    """A list: its length as `name.len`, the n-th item as `name.n`."""

    def __init__(self, item: Serializer) -> None:
        super().__init__([], str, str)
        self._item = item

    def default(self) -> Any:
        return []

    def isIn(self, node: ParameterNode, name: str) -> bool:
        return bool(node.HasParameter(f"{name}.len"))

    def write(self, node: ParameterNode, name: str, value: Iterable[Any]) -> None:
        items = list(value)
        for item in items:
            self._item.validate(item)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            for index, item in enumerate(items):
                self._item.write(node, f"{name}.{index}", item)
            node.SetParameter(f"{name}.len", str(len(items)))

    def read(self, node: ParameterNode, name: str) -> Any:
        return ObservedList(self, node, name, [self._item.read(node, key) for key in self._keys(node, name)])

    def remove(self, node: ParameterNode, name: str) -> None:
        for key in self._keys(node, name):
            self._item.remove(node, key)
        node.UnsetParameter(f"{name}.len")

    @staticmethod
    def _keys(node: ParameterNode, name: str) -> list[str]:
        return [f"{name}.{index}" for index in range(int(node.GetParameter(f"{name}.len") or 0))]


class ObservedList(MutableSequence[Any]):
    """A list that writes itself back when it is changed."""

    def __init__(self, serializer: ListSerializer, node: ParameterNode, name: str, items: list[Any]) -> None:
        self._serializer, self._node, self._name, self._items = serializer, node, name, items

    def _save(self) -> None:
        self._serializer.write(self._node, self._name, self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._items[index] = value
        self._save()

    def __delitem__(self, index: Any) -> None:
        del self._items[index]
        self._save()

    def insert(self, index: int, value: Any) -> None:
        self._items.insert(index, value)
        self._save()

    def __eq__(self, other: object) -> bool:
        return self._items == (other._items if isinstance(other, ObservedList) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ObservedList({self._items})"


class NoneSerializer(Serializer):
    """None, as a member of a union."""

    def __init__(self) -> None:
        super().__init__(None, lambda _value: "True", lambda _text: None)


def _is_none(serializer: Serializer) -> bool:
    return isinstance(serializer, NoneSerializer)


def make_serializer(annotated: Any) -> Serializer:
    """The serializer of an annotated type; TypeError where the stand-in has none."""
    bare, annotations = split_annotations(annotated)
    serializer = _for_type(bare)
    serializer.validators += [annotation for annotation in annotations if isinstance(annotation, Validator)]
    return serializer


def _for_type(bare: Any) -> Serializer:
    arguments = typing.get_args(bare)
    if isinstance(bare, types.UnionType) or typing.get_origin(bare) is typing.Union:
        return UnionSerializer([make_serializer(argument) for argument in arguments])
    if typing.get_origin(bare) is list:
        return ListSerializer(make_serializer(arguments[0]))
    if bare is bool:
        return Serializer(False, str, lambda text: text == "True", NotNone(), IsInstance(bool))
    if bare is int:
        return Serializer(0, str, int, NotNone(), IsInstance(int))
    if bare is float:
        return Serializer(0, str, float, NotNone(), IsInstance((int, float)))
    if bare is str:
        return Serializer("", str, str, NotNone(), IsInstance(str))
    if bare is Path:
        return Serializer(Path(), str, Path, NotNone(), IsInstance(Path))
    if bare is type(None):
        return NoneSerializer()
    if isinstance(bare, type) and issubclass(bare, enum.Enum):
        return Serializer(next(iter(bare)), lambda value: value.name, bare.__getitem__, IsInstance(bare))
    if isinstance(bare, type) and issubclass(bare, slicer.vtkMRMLNode):
        return NodeSerializer(bare)
    raise TypeError(f"the stand-in's parameter node keeps no {bare}")
