"""Protobuf messages with any values in any of their fields, for hypothesis."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats(),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_STRING: st.one_of(st.sampled_from(["ann", "0:1"]), st.text()),
}


def any_message(cls: type[Message], depth: int = 4) -> st.SearchStrategy[Message]:
    """Return messages of a type with any values in any of their fields."""

    @st.composite
    def made(draw: st.DrawFn) -> Message:
        message = cls()
        for field in cls.DESCRIPTOR.fields:
            if draw(st.booleans()):
                _fill(draw, message, field, depth)
        return message

    return made()


def _fill(draw: st.DrawFn, message: Any, field: Any, depth: int) -> None:
    if field.message_type and field.message_type.GetOptions().map_entry:
        getattr(message, field.name).update(draw(st.dictionaries(st.text(), st.text())))
    elif field.message_type:
        inner = any_message(field.message_type._concrete_class, depth - 1)
        if depth and field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(inner, max_size=3)))
        elif depth:
            getattr(message, field.name).CopyFrom(draw(inner))
    else:
        binary = field.type == FieldDescriptor.TYPE_BYTES
        value = st.binary(max_size=20) if binary else SCALARS[field.cpp_type]
        if field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(value, max_size=3)))
        else:
            setattr(message, field.name, draw(value))
