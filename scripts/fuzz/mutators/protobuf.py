"""Protobuf messages, field by field, whatever their kind: what comes out can be parsed again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError, Message

from scripts.fuzz.mutators import LARGEST
from scripts.fuzz.mutators.raw import INTERESTING, Bytes, Text

_MOST = 3000  # submessages of one message that are looked at
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-40, 1e38, -1e38, float("inf"), float("nan"))
_TEXTS = (
    "",
    "x",
    "\x1b[31mred",
    "a\nb",
    "=1+1",
    "\u2028",
    "../../x",
    "a" * 300,
    "\0",
    "/dev/zero",
    "{",
    '{"a":1}',
)
_ENDS = (DecodeError, ValueError, TypeError, RecursionError)


class Protobuf:
    """Messages of the class that `kind` returns; it is called when it is needed."""

    def __init__(self, kind: Callable[[], Any]) -> None:
        self._kind = kind

    def parse(self, data: bytes) -> Message:
        """Raises one of `_ENDS`."""
        message: Message = self._kind().FromString(data)
        return message

    def written(self, message: Message) -> bytes:
        """The inverse of `parse`."""
        return message.SerializePartialToString()

    def damaged(self, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
        """A change that knows nothing of fields."""
        return Bytes().mutate(data, others, random)

    def mutate(self, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
        if random.random() < 0.08:
            return self.damaged(data, others, random)
        try:
            message = self.parse(data)
            for _ in range(random.choice((1, 1, 2, 3, 6))):
                self._change(message, others, random)
            found = self.written(message)
        except _ENDS:
            return self.damaged(data, others, random)
        return found if len(found) < LARGEST else data

    def _change(self, message: Message, others: Sequence[bytes], random: Random) -> None:
        parts = list(_parts(message))
        part = random.choice(parts)
        fields = part.ListFields()
        if not fields or random.random() < 0.2:
            field = random.choice(part.DESCRIPTOR.fields)
        else:
            field = random.choice(fields)[0]
        if random.random() < 0.15:
            self._splice(part, parts, others, random)
        elif _repeated(field):
            _change_repeated(part, field, parts, random)
        elif random.random() < 0.15:
            part.ClearField(field.name)
        elif field.message_type is not None:
            _change_message(getattr(part, field.name), part, parts, random)
        else:
            setattr(part, field.name, _scalar(field, getattr(part, field.name), parts, random))

    def _splice(self, part: Message, parts: list[Message], others: Sequence[bytes], random: Random) -> None:
        """A part of the same kind, of another input or of this one."""
        alike = [one for one in parts if one is not part and one.DESCRIPTOR is part.DESCRIPTOR]
        if random.random() < 0.7:
            try:
                other = self.parse(random.choice(others))
            except _ENDS:
                return
            alike = [one for one in _parts(other) if one.DESCRIPTOR is part.DESCRIPTOR] or alike
        if alike:
            copy = type(part)()
            copy.CopyFrom(random.choice(alike))
            part.CopyFrom(copy)

    def smaller(self, data: bytes) -> Iterator[bytes]:
        try:
            whole = self.parse(data)
        except _ENDS:
            yield from Bytes().smaller(data)
            return
        for number in range(sum(1 for _ in _parts(whole))):
            for index in range(len(_part(whole, number).ListFields())):
                yield from self._without(whole, number, index)

    def _without(self, whole: Message, number: int, index: int) -> Iterator[bytes]:
        """`whole` without a field of its part `number`, or without one item of it after the other."""
        field, value = _part(whole, number).ListFields()[index]
        places = range(len(value)) if _repeated(field) and len(value) < 64 else ()
        for place in (None, *places):
            copy = type(whole)()
            copy.CopyFrom(whole)
            part = _part(copy, number)
            if place is None:
                part.ClearField(field.name)
            elif isinstance(value, dict) or not hasattr(value, "append"):
                return
            else:
                del getattr(part, field.name)[place]
            yield self.written(copy)


class ProtobufText(Protobuf):
    """The same in protobuf's text form."""

    def parse(self, data: bytes) -> Message:
        message: Message = self._kind()()
        try:
            text_format.Parse(data.decode("utf-8", "replace"), message, allow_unknown_field=True)
        except text_format.ParseError as error:
            raise ValueError(str(error)) from None
        return message

    def written(self, message: Message) -> bytes:
        return text_format.MessageToString(message).encode("utf-8", "surrogateescape")

    def damaged(self, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
        return Text().mutate(data, others, random)


def _parts(message: Message) -> Iterator[Message]:
    """`message` and those inside it, nearest first."""
    ahead: list[Message] = [message]
    for _ in range(_MOST):
        if not ahead:
            return
        part = ahead.pop(0)
        yield part
        for field, value in part.ListFields():
            if field.message_type is None:
                continue
            if not _repeated(field):
                ahead.append(value)
            elif field.message_type.GetOptions().map_entry:
                if field.message_type.fields_by_name["value"].message_type is not None:
                    ahead += value.values()
            else:
                ahead += value


def _part(message: Message, number: int) -> Message:
    return next(part for place, part in enumerate(_parts(message)) if place == number)


def _change_repeated(part: Message, field: Any, parts: list[Message], random: Random) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _change_map(part, field, random)
        return
    items = getattr(part, field.name)
    place = random.randrange(len(items) + 1)
    choice = random.randrange(5)
    if not len(items) or choice == 0:
        if field.message_type is None:
            items.append(_scalar(field, items[0] if len(items) else None, parts, random))
        else:
            _change_message(items.add(), part, parts, random)
    elif choice == 1:
        del items[min(place, len(items) - 1)]
    elif choice == 2:
        again = [items[min(place, len(items) - 1)]] * random.choice((1, 1, 2, 40))
        items.extend(again)
    elif choice == 3 and len(items) > 1:
        kept = list(items) if field.message_type is None else [_copy(item) for item in items]
        random.shuffle(kept)
        del items[:]
        items.extend(kept)
    elif field.message_type is None:
        place = min(place, len(items) - 1)
        items[place] = _scalar(field, items[place], parts, random)


def _change_map(part: Message, field: Any, random: Random) -> None:
    items = getattr(part, field.name)
    keys = list(items)
    if not keys:
        return
    key, other = random.choice(keys), random.choice(keys)
    if random.random() < 0.3:
        del items[key]
    elif field.message_type.fields_by_name["value"].message_type is not None:
        items[key].CopyFrom(_copy(items[other]))
    else:
        items[key] = items[other]


def _change_message(inner: Message, part: Message, parts: list[Message], random: Random) -> None:
    """Another one of its kind, its parent (so that it nests), nothing, or a first field."""
    alike = [one for one in parts if one.DESCRIPTOR is inner.DESCRIPTOR and one is not inner]
    choice = random.randrange(3)
    if alike and choice:
        copy = _copy(random.choice(alike))
        inner.CopyFrom(copy)
    elif choice == 1:
        inner.Clear()
    else:
        field = random.choice(inner.DESCRIPTOR.fields)
        if field.message_type is None and not _repeated(field):
            setattr(inner, field.name, _scalar(field, getattr(inner, field.name), parts, random))


def _copy(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _scalar(field: Any, old: Any, parts: list[Message], random: Random) -> Any:
    """A value for a field; a name is most often another name of the same message."""
    kind = field.cpp_type
    if kind == field.CPPTYPE_STRING:
        return _string(field, old, parts, random)
    if kind in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return random.choice(_FLOATS)
    if kind == field.CPPTYPE_BOOL:
        return not old
    if kind == field.CPPTYPE_ENUM:
        known = [value.number for value in field.enum_type.values]
        return random.choice((*known, *known, 99, -1))
    bits = 32 if kind in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    value = random.choice((*INTERESTING, *range(-4, 20), (old or 0) + 1, (old or 0) - 1, (old or 0) * 2))
    if kind in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64):
        return value & ((1 << bits) - 1)
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def _string(field: Any, old: Any, parts: list[Message], random: Random) -> Any:
    if field.type == field.TYPE_BYTES:
        data = bytes(old or b"")
        return Bytes().mutate(data, [data, b"\0" * 16], random)
    if random.random() < 0.2:
        return random.choice(_TEXTS)
    part = random.choice(parts)
    words: list[Any] = [old or ""]
    for other, value in part.ListFields():
        if other.cpp_type == other.CPPTYPE_STRING and other.type != other.TYPE_BYTES:
            words += value if other.is_repeated else [value]
    return random.choice(words)


def _repeated(field: Any) -> bool:
    known = getattr(field, "is_repeated", None)  # protobuf 6.31 and newer
    return bool(field.label == field.LABEL_REPEATED if known is None else known)
