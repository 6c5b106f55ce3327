"""Asks Gemini for the narrative; whatever goes wrong, the ranking's own stays and says why."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from blocks.errors import LamaError
from blocks.gemini import Gemini, tokens
from blocks.settings import Settings
from models.health_check import GeminiSettings, HealthReport, Narrative
from tasks.health_check.synthesis.brief import INSTRUCTION, brief_of
from tasks.step import step

_LONGEST_TEXT = 6_000
_MOST_STEPS = 10


class Prose(BaseModel):
    """What the model is asked to fill in."""

    overview: str = Field(description="Two to four sentences: the state, what changed, what could not be looked at.")
    steps: list[str] = Field(description="What to do, most urgent first, one sentence each; at most five.")


async def write_narrative(report: HealthReport, config: Settings, limits: GeminiSettings) -> Narrative:
    """The narrative of `report` by Gemini, or the one it has, with a note that says why."""
    if config.gemini_api_key is None:
        return report.narrative
    gemini = Gemini(
        api_key=config.gemini_api_key,
        model=limits.model,
        base_url=config.gemini_base_url,
        timeout_s=limits.timeout_s,
        attempts=limits.attempts,
        output_token_budget=limits.output_token_budget,
    )
    question, told = brief_of(
        report,
        token_budget=limits.input_token_budget - tokens(INSTRUCTION),
        tokens=tokens,
        homes=[config.home, Path.home()],
    )
    try:
        prose = await ask(gemini, question)
    except LamaError as error:
        return report.narrative.model_copy(update={"note": f"Not by Gemini: {error}"})
    text = _text(prose)
    if not text:
        return report.narrative.model_copy(update={"note": f"Not by Gemini: {limits.model} answered with no words."})
    left_out = len(report.causes) - told
    note = f"It was told of the {told} worst of {len(report.causes)} causes." if left_out else ""
    return Narrative(author=limits.model, text=text, note=note)


@step("write the narrative", retries=0)
async def ask(gemini: Gemini, question: str) -> Prose:
    """Gemini's prose about `question`; the client itself tries again."""
    return await gemini.answer(question, Prose, instruction=INSTRUCTION)


def _text(prose: Prose) -> str:
    lines = [" ".join(prose.overview.split())]
    steps = [" ".join(one.split()) for one in prose.steps if one.strip()][:_MOST_STEPS]
    lines += [f"{number}. {one}" for number, one in enumerate(steps, start=1)]
    return "\n".join(line for line in lines if line)[:_LONGEST_TEXT] if lines[0] else ""
