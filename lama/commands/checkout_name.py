"""A checkout of `lama.toml`, or a folder, as a word of a command."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


class CheckoutName(click.ParamType[str]):
    """A name of `lama.toml`, or a path; the shell completes both."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names that begin like this, and then the shell's own folders."""
        from blocks.docs_configuration import load_docs
        from blocks.errors import LamaError
        from blocks.settings import settings

        try:
            names = [checkout.name for checkout in load_docs(settings()).checkouts]
        except LamaError:
            names = []
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [*found, CompletionItem(incomplete, type="dir")]
