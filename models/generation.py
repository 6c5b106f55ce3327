"""What the flow `generate` gives back."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.report import Report


class GenerationReport(Report):
    """A report with an answer of a language model."""

    text: str = Field(default="", description="What the model said.")
    model: str = Field(default="", description="Who said it.")
    reasons: tuple[str, ...] = Field(default=(), description="Why it was chosen, and why others could not answer.")
    fallback: tuple[str, ...] = Field(default=(), description="Those that could not answer, in order.")
    cache: Literal["hit", "miss", "off"] = Field(default="off", description="Whether the answer was given before.")
    prompt_tokens: int = Field(default=0, ge=0, description="Tokens that were read.")
    tokens: int = Field(default=0, ge=0, description="Tokens that were written.")
    finish: str = Field(default="", description="`stop`, or `length` where the answer was cut.")
    conversation_id: str | None = Field(default=None, description="The conversation that it belongs to.")
    turns: int = Field(default=0, ge=0, description="Earlier turns of the conversation that the model was shown.")
