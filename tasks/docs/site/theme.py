"""The templates: Lama's own, and before them those of a folder of the user's. They run in a sandbox."""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks.errors import ConfigurationError

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

OWN = Path(__file__).resolve().parent.parent / "templates"
"""Folder of Lama's templates; those of `assets` are copied as they are."""
_LARGEST = 4 * 1024 * 1024
_MOST = 500


class Theme:
    """Every template and asset by its name, such as `html/module.html`.

    Raises:
        ConfigurationError: the user's folder is not there, or holds what cannot be read.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._sources = _read(OWN)
        if folder is not None:
            if not folder.is_dir():
                raise ConfigurationError("there is no such folder.", component=str(folder), remedy="Correct templates.")
            self._sources |= _read(folder)
        self._templates: dict[str, Template] = {}

    @cached_property
    def digest(self) -> str:
        """A hash of everything in it."""
        digest = blake2b(digest_size=16)
        for name, content in sorted(self._sources.items()):
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    @property
    def assets(self) -> dict[str, bytes]:
        """What is copied as it is, by its place in the site."""
        return {name: content for name, content in self._sources.items() if name.startswith("assets/")}

    def render(self, name: str, **values: Any) -> str:
        """The template `name`, filled in.

        Raises:
            ConfigurationError: it is wrong; the message names template and line.
        """
        from jinja2 import TemplateError  # noqa: PLC0415 - as below
        from jinja2.exceptions import TemplateSyntaxError  # noqa: PLC0415

        try:
            template = self._templates.get(name)
            if template is None:
                template = self._templates[name] = self._environment.get_template(name)
            return template.render(values)
        except TemplateSyntaxError as error:
            place = f"{error.name or name}:{error.lineno}"
            raise ConfigurationError(f"{error.message}.", component=place, remedy="Correct the template.") from error
        except TemplateError as error:
            raise ConfigurationError(f"{error}.", component=name, remedy="Correct the template.") from error

    @cached_property
    def _environment(self) -> ImmutableSandboxedEnvironment:
        from jinja2 import FunctionLoader, StrictUndefined  # noqa: PLC0415 - a build without changes needs none
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

        return ImmutableSandboxedEnvironment(
            loader=FunctionLoader(self._source),
            autoescape=lambda name: name is not None and name.endswith((".html", ".svg", ".xml")),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=False,
            auto_reload=False,
        )

    def _source(self, name: str) -> str | None:
        content = self._sources.get(name)
        return None if content is None else content.decode("utf-8", errors="replace")


def _read(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or any(part.startswith(".") for part in path.relative_to(folder).parts):
                continue
            if len(found) >= _MOST or path.stat().st_size > _LARGEST:
                raise ConfigurationError(
                    f"more than {_MOST} files, or {path.name} is larger than {_LARGEST} bytes.",
                    component=str(folder),
                    remedy="Name a folder that holds templates only.",
                )
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}.", component=str(folder)) from error
    return found
