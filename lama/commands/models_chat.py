"""`lama models chat`: a conversation on the terminal."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from blocks.errors import LamaError
from blocks.model_host_api import ModelHostApi, TooLongError
from blocks.settings import settings
from lama.cli import OK
from lama.commands.models_host import ModelName
from lama.commands.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command("chat")
@click.argument("model", type=ModelName("auto"), metavar="[MODEL]", default="auto")
@click.option("--message", "-m", help="Ask this one question, print the answer, and end.")
@click.option("--system", help="What the model is told first.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=512, show_default=True, help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.7, show_default=True, help="0: always the same.")
def chat(*, model: str, message: str | None, system: str | None, max_tokens: int, temperature: float) -> int:
    """Talk to MODEL; without one, to the one that fits best.

    An empty line or Ctrl-D ends it. Ctrl-C ends an answer; before a question it ends all.
    """
    if message is not None and not message.strip():
        raise click.UsageError("there is no question in --message.")
    with ModelHostApi(settings()) as host:
        talk = _Talk(host, model, system, {"max_tokens": max_tokens, "temperature": temperature})
        if message is not None:
            talk.ask(message)
            return OK
        for question in _questions():
            try:
                talk.ask(question)
            except KeyboardInterrupt:
                click.echo("\n[ended here]", err=True)
            except LamaError as error:
                click.echo(f"lama: {printable(str(error))}", err=True)
    return OK


def _questions() -> Iterator[str]:
    while True:
        try:
            line = click.prompt(">", prompt_suffix=" ", default="", show_default=False)
        except click.Abort:
            return
        if not line.strip():
            return
        yield line


@dataclass
class _Talk:
    """What was said so far."""

    host: ModelHostApi
    model: str
    system: str | None
    sampling: dict[str, Any]
    turns: list[dict[str, str]] = field(default_factory=list)

    def ask(self, question: str) -> None:
        """Print the answer as it comes. What fails was not said; what is interrupted was, as far as it came.

        Raises:
            LamaError: there is no answer.
        """
        head = [{"role": "system", "content": self.system}] if self.system else []
        last = {"role": "user", "content": question}
        said: list[str] = []
        try:
            while True:
                try:
                    self._answer([*head, *self.turns, last], said)
                    break
                except TooLongError:
                    if not self.turns:
                        raise
                    del self.turns[:2]
                    click.echo("[the oldest question no longer fits, and is left out]", err=True)
        except KeyboardInterrupt:
            if said:
                self.turns += [last, {"role": "assistant", "content": "".join(said)}]
            raise
        self.turns += [last, {"role": "assistant", "content": "".join(said)}]

    def _answer(self, messages: list[dict[str, str]], said: list[str]) -> None:
        usage: dict[str, Any] = {}
        answering = self.model
        started, first_s = time.monotonic(), 0.0
        # Closed at once when it is interrupted: the host stops working for it.
        with contextlib.closing(self.host.chat(self.model, messages, **self.sampling)) as events:
            for event in events:
                answering = event.get("model", answering)
                usage = event.get("usage") or usage
                for choice in event.get("choices", ()):
                    text = choice.get("delta", {}).get("content") or ""
                    if not text:
                        continue
                    if not said:
                        first_s = time.monotonic() - started
                    said.append(text)
                    click.echo(printable(text, keep="\n\t"), nl=False)
        took = time.monotonic() - started
        tokens = int(usage.get("completion_tokens", 0))
        click.echo()
        speed = f", {tokens / (took - first_s):.0f} tokens/s" if took > first_s and tokens > 1 else ""
        click.echo(f"[{answering}: {tokens} tokens, first after {first_s:.2f} s{speed}]", err=True)
