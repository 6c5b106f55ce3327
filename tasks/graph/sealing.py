"""Sensitive properties, encrypted before a fact is written and decrypted after it is read.

AES-SIV (RFC 5297, 256-bit keys) with label, key and property as associated data: what is encrypted cannot be moved to
another node or property. It is deterministic there, so that saying the same again changes nothing; equal values of two
nodes look different, and no hash of a value is kept anywhere.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from blocks.errors import ConfigurationError
from blocks.graph_keys import GraphKey, graph_keys
from blocks.settings import Settings
from models.graph import Label, NodeFact, Part, Property, Ref
from models.graph_sensitive import MARK, SENSITIVE
from tasks.graph import checked
from tasks.graph.temporal import FOREVER


class SealError(ConfigurationError):
    """A sensitive property that cannot be decrypted: its key is not here, or it was tampered with."""


@dataclass(frozen=True)
class Seal:
    """What encrypts and decrypts.

    Args:
        keys: the first encrypts, all of them decrypt.
        sensitive: which properties, by label.
    """

    keys: tuple[GraphKey, ...]
    sensitive: Mapping[Label, frozenset[str]]

    @classmethod
    def of(cls, settings: Settings) -> Seal:
        """That of a node.

        Raises:
            ConfigurationError: its keys are not usable.
        """
        return cls(graph_keys(settings), SENSITIVE)

    def part(self, part: Part) -> Part:
        """`part` with its sensitive properties encrypted."""
        if not any(one.ref.label in self.sensitive for one in part.nodes):
            return part
        return replace(part, nodes=[self.node(one) for one in part.nodes])

    def node(self, fact: NodeFact) -> NodeFact:
        """`fact` with its sensitive properties encrypted.

        Raises:
            ConfigurationError: it could not be kept as it is, either.
        """
        names = self.sensitive.get(fact.ref.label, frozenset()).intersection(fact.properties)
        if not names:
            return fact
        checked.node(fact, "plain", FOREVER - 1)
        sealed = {name: self.close(fact.ref, name, fact.properties[name]) for name in names}
        return replace(fact, properties={**fact.properties, **sealed})

    def close(self, ref: Ref, name: str, value: Property) -> str:
        """`value` encrypted, for this property of this node only."""
        key = self.keys[0]
        content = AESSIV(_derived(key)).encrypt(orjson.dumps(value), _place(ref, name))
        return f"{MARK}{key.id}:{base64.b64encode(content).decode()}"

    def open(self, ref: Ref, name: str, value: Property) -> Property:
        """What was encrypted; anything else is returned as it is.

        Raises:
            SealError: no key here fits, or it is not what was encrypted for this property of this node.
        """
        if not isinstance(value, str) or not value.startswith(MARK):
            return value
        id_, _, text = value.removeprefix(MARK).partition(":")
        fitting = next((key for key in self.keys if key.id == id_), None)
        shown = f"{ref.label} {ref.key[:100]!r}"
        if fitting is None:
            raise SealError(
                f"{name} was encrypted with the key {id_[:16]!r}, which this node has not "
                f"(it has {', '.join(key.id for key in self.keys)}).",
                component=shown,
                remedy="Put that key into the home's secrets (graph-keys) or into LAMA_GRAPH_KEY.",
            )
        try:
            content = base64.b64decode(text, validate=True)
            opened = AESSIV(_derived(fitting)).decrypt(content, _place(ref, name))
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise SealError(
                f"{name} is not what was encrypted there: it was changed, or belongs to another node.", component=shown
            ) from error
        found = orjson.loads(opened)
        return tuple(found) if isinstance(found, list) else found

    def opened(self, ref: Ref, properties: Mapping[str, Property]) -> dict[str, Property]:
        """All of a node's properties, decrypted.

        Raises:
            SealError: a sensitive one cannot be.
        """
        names = self.sensitive.get(ref.label, frozenset())
        return {name: self._opened(ref, name, value, strict=name in names) for name, value in properties.items()}

    def _opened(self, ref: Ref, name: str, value: Property, *, strict: bool) -> Property:
        try:
            return self.open(ref, name, value)
        except SealError:
            if strict:
                raise
            return value  # a text that only looks like it: anybody may have written it into a checkout

    def renewed(self, ref: Ref, properties: Mapping[str, Property]) -> dict[str, Property] | None:
        """The properties encrypted with the first key, those included that have become sensitive; None: they are."""
        names = self.sensitive.get(ref.label, frozenset())
        fresh = {name: self._renewed(ref, name, value, strict=name in names) for name, value in properties.items()}
        return None if fresh == properties else fresh

    def _renewed(self, ref: Ref, name: str, value: Property, *, strict: bool) -> Property:
        if not strict and not _is_sealed(value):
            return value
        try:
            return self.close(ref, name, self.open(ref, name, value))
        except SealError:
            if strict:
                raise
            return value


def _is_sealed(value: Property) -> bool:
    return isinstance(value, str) and value.startswith(MARK)


def _derived(key: GraphKey) -> bytes:
    """The two keys of AES-SIV, of one of ours."""
    return HKDFExpand(algorithm=hashes.SHA512(), length=64, info=b"lama graph property 1").derive(key.content)


def _place(ref: Ref, name: str) -> list[bytes]:
    return [ref.label.value.encode(), ref.key.encode(), name.encode()]
