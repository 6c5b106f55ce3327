"""Which parameters a deployment's flow has, by the schema that Prefect keeps of it.

Prefect itself checks the values of the names in that schema, and lets every other name pass: a run with such a name is
made, and crashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def unknown_parameters(schema: object, names: Iterable[str]) -> str | None:
    """A sentence about those of `names` that a flow does not have; None where there are none.

    Args:
        schema: `parameter_openapi_schema` of its deployment. One without properties says nothing: deployments that
            other tools make may have none.
        names: of the parameters that a run is to be given.
    """
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping) or not properties:
        return None
    unknown = [name for name in names if name not in properties]
    if not unknown:
        return None
    told = ", ".join(repr(name)[:100] for name in unknown[:5]) + (" and others" if unknown[5:] else "")
    named = f"is no parameter {told}" if len(unknown) == 1 else f"are no parameters {told}"
    return f"there {named}. There are: {', '.join(sorted(map(str, properties)))}"


def unknown_to(deployment: Mapping[str, object], names: Iterable[str]) -> str | None:
    """The same for a deployment as Prefect's API describes it; None where its schema is not to be enforced."""
    enforced = deployment.get("enforce_parameter_schema", True)
    return unknown_parameters(deployment.get("parameter_openapi_schema"), names) if enforced else None
