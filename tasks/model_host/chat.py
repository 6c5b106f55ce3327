"""Messages into a prompt, by the model's own template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from tasks.model_host.errors import RequestError

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_MARK = "zqxv"


def check_messages(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """Messages as templates take them: contents are text.

    Raises:
        RequestError: it names the message.
    """
    if not messages:
        raise RequestError("messages is empty; at least one is needed.", parameter="messages")
    return [_message(message, f"messages[{at}]") for at, message in enumerate(messages)]


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise RequestError(f"{where} is no object.", parameter="messages")
    role = message.get("role")
    if role not in _ROLES:
        known = ", ".join(sorted(_ROLES))
        raise RequestError(f"{where}.role is {str(role)[:40]!r}; it is one of {known}.", parameter=f"{where}.role")
    content = message.get("content")
    if content is None and role == "assistant":
        content = ""
    if isinstance(content, list):
        content = "".join(_part(part, f"{where}.content[{at}]") for at, part in enumerate(content))
    if not isinstance(content, str):
        raise RequestError(f"{where}.content is neither text nor a list of parts.", parameter=f"{where}.content")
    # What templates call the one that OpenAI renamed.
    return {**message, "role": "system" if role == "developer" else role, "content": content}


def _part(part: Any, where: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get("text") if isinstance(part, dict) else None
    if kind != "text" or not isinstance(text, str):
        raise RequestError(f"{where} is of type {str(kind)[:40]!r}; this model reads text only.", parameter=where)
    return text


def render(tokenizer: Any, messages: Sequence[Any]) -> str:
    """The prompt of `messages`, up to where the assistant begins.

    Raises:
        RequestError: the model has no template, or its template refuses them.
    """
    checked = check_messages(messages)
    if not tokenizer.chat_template:
        raise RequestError(
            "this model has no chat template.", parameter="messages", remedy="Ask for a completion of a prompt instead."
        )
    try:
        return str(tokenizer.apply_chat_template(checked, add_generation_prompt=True, tokenize=False))
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise RequestError(f"the model's chat template refuses these messages: {error}", parameter="messages") from None


def end_of_turn(tokenizer: Any) -> int | None:
    """The special token that the template writes behind what the assistant said, if it is one."""
    if not tokenizer.chat_template:
        return None
    said = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _MARK}]
    try:
        text = str(tokenizer.apply_chat_template(said, tokenize=False))
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError):
        return None  # a template that wants more than this tells us nothing
    _, found, behind = text.rpartition(_MARK)
    tokens = tokenizer(behind.lstrip(), add_special_tokens=False)["input_ids"] if found else []
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return int(tokens[0]) if tokens and tokens[0] in special else None
