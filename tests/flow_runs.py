"""What a flow run leaves behind in Prefect."""

from __future__ import annotations

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.logging.handlers import APILogHandler


async def artifacts_of(run_id: str) -> dict[str | None, object]:
    """The artifacts of a run, by key."""
    async with get_client() as client:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(run_id)]))
        )
    return {artifact.key: artifact.data for artifact in found}


async def logs_of(run_id: str) -> list[str]:
    """The lines that Prefect has of a run, its tasks' among them, as the UI shows them."""
    await APILogHandler.aflush()
    async with get_client() as client:
        found = await client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(run_id)])), limit=200)
    return [line.message for line in found]


async def task_messages_of(run_id: str) -> list[str]:
    """What the states of a run's tasks say."""
    async with get_client() as client:
        found = await client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run_id)])))
    return [run.state.message or "" for run in found if run.state is not None]
