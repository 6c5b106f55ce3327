"""The part of `lama.toml` that is about documentation, without the time that it takes to check all the rest."""

from __future__ import annotations

from blocks.errors import ConfigurationError
from blocks.settings import Settings
from blocks.toml_document import parse_document, read_document
from models.docs import DocsPart


def load_docs(settings: Settings) -> DocsPart:
    """What `lama.toml` says of checkouts and documentation; the defaults where there is no such file.

    Raises:
        ConfigurationError: the file was named but is not there, cannot be read, or is not valid in these parts.
    """
    path = settings.config_path
    if path.exists():
        return parse_document(DocsPart, read_document(path), str(path))
    if settings.config is not None and path != settings.home / "lama.toml":
        raise ConfigurationError("there is no such file.", component=str(path), remedy="Correct LAMA_CONFIG.")
    return DocsPart()
