"""A page beside a report: shown as an artifact of the run. Where it cannot be shown, the work goes on without."""

from __future__ import annotations

import httpx
from prefect.artifacts import acreate_markdown_artifact
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from blocks.errors import LamaError


async def show_page(markdown: str, key: str, description: str) -> None:
    """Show `markdown` as the artifact `key` (lower case, dashes)."""
    try:
        await acreate_markdown_artifact(markdown, key=key, description=description)
    except (httpx.HTTPError, PrefectException, LamaError, OSError, TimeoutError) as error:
        get_run_logger(component="reports").error("the artifact %s could not be written: %s", key, type(error).__name__)
