"""Where a request goes, among devices of every kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.model_host import (
    EngineKind,
    HostStatus,
    ModelKind,
    ModelState,
    ModelStatus,
    Priority,
    Quantisation,
    Unseen,
)
from services.model_host.front.merging import figures, merged
from tasks.model_host.placing import Place, Room, Standing, best, standing


def _model(state: ModelState, *, running: int = 0, reserve: int = 0, name: str = "m") -> ModelStatus:
    return ModelStatus(
        name=name, state=state, kind=ModelKind.generate, engine=EngineKind.llamacpp, quantisation=Quantisation.stored,
        priority=Priority.normal, context_window=512, running=running, reserve_bytes=reserve,
        measured_bytes=100 if state is ModelState.ready else None, error="torn" if state is ModelState.failed else "",
    )  # fmt: skip


def _status(number: int, *models: ModelStatus) -> HostStatus:
    return HostStatus(
        device="cpu", capacity_bytes=1_000, used_bytes=100, leased_bytes=10, reserved_bytes=5, models=models,
        number=number,
    )  # fmt: skip


def _place(number: int, state: ModelState | None, *, running: int = 0, asked: int = 0) -> Place:
    models = () if state is None else (_model(state, running=running),)
    return Place(number, _status(number, *models), {"m": asked} if asked else {})


_places = st.lists(
    st.tuples(st.sampled_from([*ModelState, None]), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6
).map(lambda drawn: [_place(n, state, running=running, asked=asked) for n, (state, running, asked) in enumerate(drawn)])
_rooms = st.dictionaries(st.integers(0, 5), st.builds(Room, st.booleans(), st.booleans(), st.booleans()))


@given(_places, _rooms)
def test_nobody_stands_better_than_who_is_chosen_and_of_those_alike_nobody_has_less_to_do(
    places: list[Place], rooms: dict[int, Room]
) -> None:
    chosen, found = best(places, "m", rooms)
    for place in places:
        other = standing(place, "m", rooms.get(place.number))
        assert (found, chosen.load()) <= (other, place.load())


@given(_places)
def test_the_order_in_which_devices_are_told_changes_nothing(places: list[Place]) -> None:
    assert best(places, "m")[0].number == best(places[::-1], "m")[0].number


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (None, Standing.unknown),
        (Room(fits=True), Standing.fits),
        (Room(fits=True, instead=True), Standing.fits_instead),
        (Room(fits=False), Standing.full),
        (Room(fits=False, for_ever=True), Standing.never),
    ],
)
def test_a_cold_model_stands_as_its_host_says(room: Room | None, expected: Standing) -> None:
    assert standing(_place(0, ModelState.absent), "m", room) is expected
    assert standing(_place(0, ModelState.parked), "m", room) is expected
    assert standing(_place(0, ModelState.ready), "m", room) is Standing.warm
    assert standing(_place(0, ModelState.absent, asked=1), "m", room) is Standing.coming
    assert standing(_place(0, None), "m", room) is Standing.absent


def test_cold_models_are_spread_and_each_always_goes_to_the_same_device() -> None:
    def where(name: str, devices: int) -> int:
        places = [Place(n, _status(n, _model(ModelState.absent, name=name))) for n in range(devices)]
        return best(places, name)[0].number

    names = [f"model-{n}" for n in range(60)]
    three = {name: where(name, 3) for name in names}
    assert all(list(three.values()).count(device) > 8 for device in range(3))
    two = {name: where(name, 2) for name in names}
    assert all(two[name] == device for name, device in three.items() if device < 2), "only the third one's move"


def test_several_devices_are_told_as_one() -> None:
    first = _status(0, _model(ModelState.failed, reserve=7), _model(ModelState.absent, name="n"))
    second = _status(1, _model(ModelState.ready, running=2, reserve=3))
    whole = merged([first, second], [Unseen(device="2", reason="gone")])
    assert (whole.device, whole.capacity_bytes, whole.used_bytes) == ("3 devices", 2_000, 200)
    assert whole.each == (first, second)
    one, other = whole.models
    assert (one.state, one.running, one.reserve_bytes, one.measured_bytes) == (ModelState.ready, 2, 10, 100)
    assert one.error == "torn"
    assert (other.name, other.state) == ("n", ModelState.absent)
    assert merged([], [Unseen(device="0", reason="gone")]).each == ()


def test_figures_of_one_name_are_told_under_one_heading() -> None:
    text = '# HELP a_total Of a.\n# TYPE a_total counter\na_total{model_name="m"} %d.0\n'
    told = figures({0: text % 1, 3: text % 2}, []).decode()
    assert told.count("# TYPE a_total counter") == 1
    assert 'a_total{device="0",model_name="m"} 1.0' in told
    assert 'a_total{device="3",model_name="m"} 2.0' in told
