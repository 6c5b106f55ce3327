"""Runs the Prefect server in this process: the same application that `prefect server start` serves.

Going straight to it saves the import of Prefect's command line at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blocks.flow_parameters import unknown_parameters
from blocks.settings import LOOPBACK, settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_LONGEST = 500


def main() -> None:
    """Serve until a signal ends us."""
    import uvicorn  # noqa: PLC0415
    from prefect.server.api.server import create_app  # noqa: PLC0415

    config = settings()
    refuse_unknown_parameters()
    application: ASGIApp = create_app(final=True)
    uvicorn.run(
        known_by_own_names(application) if config.on_loopback else application,
        host=config.host,
        port=config.prefect_port,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        log_config=None,
        access_log=False,
    )


def refuse_unknown_parameters() -> None:
    """Let the API refuse (409) a run with a parameter that its flow does not have, and say what is wrong with a value.

    Prefect checks values only, and keeps no `additionalProperties` of a schema: such a run would be made, and crash.
    """
    from prefect.server.api import deployments as module  # noqa: PLC0415
    from prefect.utilities.schema_tools.validation import ValidationError, validate  # noqa: PLC0415

    def known_and_valid(
        parameters: dict[str, Any], schema: Any, *, ignore_required: bool = False, **options: Any
    ) -> object:
        # What a deployment itself is given is checked without what is required: that is left as it is.
        unknown = None if ignore_required else unknown_parameters(schema, parameters)
        if unknown is not None:
            raise ValidationError(f"{unknown}.")
        try:
            return validate(parameters, schema, ignore_required=ignore_required, **options)
        except ValidationError as error:
            raise ValidationError(f"{error}{_reasons(error.__cause__)}") from error

    api: Any = module  # the one seam: everything around its check is Prefect's own
    api.validate = known_and_valid


def _reasons(cause: BaseException | None) -> str:
    """Why a value fits none of several forms, such as a number or nothing; Prefect says only that it does not."""
    found = getattr(cause, "context", None) or ()
    reasons = [one.message for one in found if one.schema.get("type") != "null"]
    return f": {'; '.join(reasons)[:_LONGEST]}" if reasons else ""


def known_by_own_names(application: ASGIApp) -> ASGIApp:
    """`application`, answering only to the names of loopback.

    A page on a hostile site can make its own name point to this machine (DNS rebinding), and would then be of the same
    origin as the API, which runs code. Beyond loopback the API asks for a password, which such a page does not have.
    """
    from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: PLC0415

    # The middleware cuts a host at its first colon: what begins with a bracket is an address, which nobody can rebind.
    return TrustedHostMiddleware(application, allowed_hosts=[*LOOPBACK, "["], www_redirect=False)


if __name__ == "__main__":
    main()
