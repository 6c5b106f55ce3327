"""The documentation of a checkout as a step of a flow."""

from __future__ import annotations

from tasks.docs import run
from tasks.docs.job import Answer, Job
from tasks.step import step


@step("document a checkout", retries=0)
async def document(job: Job, timeout_s: float) -> Answer:
    """Its site, and what in its documents is not true. What could not be done says so in the report."""
    return await run.document(job, timeout_s)


PARTS = run.Parts(document=document)
