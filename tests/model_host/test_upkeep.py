"""What is due is what is missing, in an order that never promises more than before or after."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.model_host import (
    CatalogueEntry,
    EngineKind,
    Footprint,
    HostStatus,
    Measured,
    ModelKind,
    ModelState,
    ModelStatus,
    Priority,
    Quantisation,
)
from tasks.model_host.upkeep import due, findings

_NAMES = ("a", "b", "c", "d", "e")


def entry(name: str, reserve: int | None = None, **more: object) -> CatalogueEntry:
    return CatalogueEntry.model_validate(
        {"name": name, "source": "package:x", "reserve_bytes": reserve, "engine": "llamacpp"} | more
    )


def model(name: str, reserve: int = 0, **more: object) -> ModelStatus:
    return ModelStatus(
        name=name, state=ModelState.ready, kind=ModelKind.generate, engine=EngineKind.llamacpp,
        quantisation=Quantisation.stored, priority=Priority.normal, context_window=4096, reserve_bytes=reserve,
    ).model_copy(update=more)  # fmt: skip


def host(*models: ModelStatus, fragmentation: float = 0.0) -> HostStatus:
    return HostStatus(
        device="cpu", capacity_bytes=1000, used_bytes=0, leased_bytes=0, reserved_bytes=0, models=models,
        fragmentation=fragmentation,
    )  # fmt: skip


catalogues = st.lists(st.sampled_from(_NAMES), unique=True).flatmap(
    lambda names: st.tuples(
        *(
            st.builds(
                entry,
                st.just(name),
                st.none() | st.integers(1, 500),
                priority=st.sampled_from(["high", "normal", "low"]),
            )
            for name in names
        )
    )
)
hosts = st.dictionaries(st.sampled_from(_NAMES), st.integers(0, 500)).map(
    lambda held: host(*(model(name, size) for name, size in held.items()))
)


@given(catalogues, hosts)
def test_the_steps_lead_to_the_catalogue_and_never_promise_more_than_before_or_after(
    catalogue: tuple[CatalogueEntry, ...], status: HostStatus
) -> None:
    promised = {one.name: one.reserve_bytes for one in status.models}
    before, totals = sum(promised.values()), []
    for step in due(catalogue, status):
        promised[step.model] = step.reserve.bytes if step.reserve else 0
        totals.append(sum(promised.values()))
    wanted = {one.name: one.reserve_bytes or 0 for one in catalogue}
    assert promised == {one.name: wanted.get(one.name, 0) for one in status.models}
    assert max([before, *totals]) <= max(before, sum(promised.values()))
    after = host(*(model(name, size) for name, size in promised.items()))
    assert due(catalogue, after) == (), "nothing is due twice"


@given(catalogues, hosts)
def test_of_what_becomes_more_the_most_urgent_comes_first(
    catalogue: tuple[CatalogueEntry, ...], status: HostStatus
) -> None:
    held = {one.name: one.reserve_bytes for one in status.models}
    more = [
        step.reserve.priority
        for step in due(catalogue, status)
        if step.reserve and step.reserve.bytes > held[step.model]
    ]
    assert more == sorted(more)


@given(catalogues, hosts)
def test_every_entry_that_the_host_does_not_know_is_told_and_no_other(
    catalogue: tuple[CatalogueEntry, ...], status: HostStatus
) -> None:
    told = {one.component for one in findings(catalogue, status) if ".outdated:" in one.key}
    wanted, known = {one.name: one for one in catalogue}, {one.name: one for one in status.models}
    changed = {name for name in wanted.keys() & known.keys() if wanted[name].priority != known[name].priority}
    assert told == (wanted.keys() ^ known.keys()) | changed


def test_what_a_person_should_know() -> None:
    predicted = Footprint(weights=90, kv_per_token=1, workspace=10)
    status = host(
        model("a", state=ModelState.failed, error="torn"),
        model("b", predicted=predicted, measured=Measured(weights=80, beside=26)),
        model("c", predicted=predicted, measured=Measured(weights=80, beside=24)),
        fragmentation=0.3,
    )
    catalogue = [entry("a"), entry("b"), entry("c", quantisation="nf4", kind="embed", context_window=128)]
    found = {one.key: one.detail for one in findings(catalogue, status)}
    assert set(found) == {
        "maintain_models.failed:a", "maintain_models.larger:b", "maintain_models.fragmented:cpu",
        "maintain_models.outdated:c",
    }  # fmt: skip
    assert "torn" in found["maintain_models.failed:a"]
    assert "+6.0%" in found["maintain_models.larger:b"]
    assert "kind, quantisation, context_window" in found["maintain_models.outdated:c"]
