"""What the health check saw of a node as facts: its services, what they need, and whose code they run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from models.graph import Label, Ref, Type
from models.health_check import OWN_SERVICES, Service
from tasks.graph.ingest.facts import Facts, Saying, ref
from tasks.health_check.architecture.drift import View

_POSTGRESQL, _PREFECT, _GATEWAY, _GRAPH = OWN_SERVICES
_OWN = {_GATEWAY: (_PREFECT, _POSTGRESQL, _GRAPH), _PREFECT: (_POSTGRESQL,)}
_CODE = {_GATEWAY: "services.gateway.__main__"}


def component(host: str, service: str = "") -> Ref:
    """A service of a node, or the node itself."""
    return ref(Label.component, host, service) if service else ref(Label.component, host)


def architecture_facts(host: str, view: View, services: Sequence[Service], *, ours: str | None = None) -> Facts:
    """What `view` says of `host`.

    Args:
        host: the node.
        view: what the last health check saw of it (`node_view` of the architecture module).
        services: those that `lama.toml` tells it to watch.
        ours: the checkout that Lama's own services run, when it is one that is watched.
    """
    said = Saying()
    node = said.node(component(host), name=host, kind="node", **_host(view.get("host", {})))
    versions = view.get("versions", {})
    kinds = view.get("services", {})
    told = {service.name: service for service in services}
    names = sorted({*kinds, *versions, *told})
    for name in names:
        known = told.get(name)
        kind = known.kind.value if known is not None else kinds.get(name) or "own"
        own = said.node(component(host, name), name=name, kind=kind, version=versions.get(name) or "")
        said.hang(Type.contains, node, own)
        _needs(said, host, own, [*_OWN.get(name, ()), *(known.needs if known is not None else ())], names)
        if known is not None and known.checkout is not None:
            said.hang(Type.runs, own, said.node(ref(Label.checkout, known.checkout), name=known.checkout))
        if ours is not None and name in _CODE:
            said.hang(Type.runs, own, ref(Label.module, ours, _CODE[name]))
    return said.facts()


def latest_view(views: Iterable[View]) -> View | None:
    """The first of `views`, which come newest first. The version of a service that did not answer is the one that it
    had when it last did: a service that is down has not changed.
    """
    newest: View | None = None
    versions: dict[str, str | None] = {}
    for view in views:
        if newest is None:
            newest, versions = view, dict(view.get("versions", {}))
        for name, version in view.get("versions", {}).items():
            if name in versions and versions[name] is None:
                versions[name] = version
    return None if newest is None else {**newest, "versions": versions}


def _host(facts: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name: facts.get(name) for name in ("distribution", "kernel", "python")}


def _needs(said: Saying, host: str, own: Ref, needs: Iterable[str], known: Sequence[str]) -> None:
    for name in needs:
        if name in known:
            said.hang(Type.depends_on, own, component(host, name))
