"""Which version a model's name means right now: one question to the registry's database, without importing MLflow."""

from __future__ import annotations

import re
from typing import Any

import psycopg

from blocks.errors import ConfigurationError
from models.training import CHAMPION, NAME, ModelVersion

_BY_ALIAS = """
SELECT tag.version, tag.value FROM registered_model_aliases AS alias
JOIN model_version_tags AS tag ON tag.name = alias.name AND tag.version = alias.version AND tag.key = 'lama.version'
WHERE alias.name = %s AND alias.alias = %s
"""
_BY_NUMBER = """
SELECT version, value FROM model_version_tags WHERE name = %s AND version = %s AND key = 'lama.version'
"""
_LARGEST = 2**31 - 1


def parsed(address: str) -> tuple[str, str]:
    """`name`, `name@alias` or `name@number` as name and alias or number; without one, the champion.

    Raises:
        ConfigurationError: it is none of them.
    """
    name, at, which = address.partition("@")
    which = which if at else CHAMPION
    if not re.fullmatch(NAME, name) or not re.fullmatch(NAME, which):
        raise ConfigurationError(
            f"{address[:100]!r} is no model: write NAME, NAME@ALIAS or NAME@NUMBER.", component="predict"
        )
    return name, which


def resolved(connection: psycopg.Connection[Any], name: str, which: str) -> ModelVersion:
    """What the registry says of the version that `which` (an alias or a number) of the model `name` is now.

    Raises:
        ConfigurationError: there is none.
        psycopg.Error: the registry's database does not answer.
    """
    try:
        if which.isascii() and which.isdigit():
            row = connection.execute(_BY_NUMBER, (name, int(which))).fetchone() if int(which) <= _LARGEST else None
        else:
            row = connection.execute(_BY_ALIAS, (name, which)).fetchone()
    except psycopg.errors.UndefinedTable:
        row = None  # nobody has registered anything yet
    if row is None:
        raise ConfigurationError(
            f"there is no model {name}@{which}.", component="predict", remedy="`lama train` makes and promotes models."
        )
    return ModelVersion.model_validate_json(row[1]).model_copy(update={"version": int(row[0])})
