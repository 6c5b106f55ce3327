"""Messages that are sent by WhatsApp. The payload of routes that lead there."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from models.report import Value


class Template(Value):
    """A message that Meta has approved, which alone may be sent to whoever has not written for 24 hours."""

    name: str = Field(pattern=r"^[a-z0-9_]{1,512}$", description="Its name.")
    language: str = Field(pattern=r"^[a-z]{2,3}(_[A-Z]{2,4})?$", description="Its language, such as `en_US`.")
    components: list[dict[str, Any]] = Field(
        default_factory=list, max_length=20, description="What its placeholders become, as the Cloud API takes it."
    )


class Outgoing(Value):
    """A message to one person."""

    to: str = Field(pattern=r"^\+[1-9]\d{6,14}$", description="The recipient's number in E.164.")
    text: str | None = Field(default=None, min_length=1, max_length=4096, description="What is said.")
    template: Template | None = Field(default=None, description="Or the template that is sent.")
    reply_to: str | None = Field(default=None, max_length=500, description="Id of the message that it answers.")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Outgoing:
        if (self.text is None) == (self.template is None):
            raise ValueError("it has either text or template")
        return self
