"""Who takes part follows from what was signed, whatever the order in which it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sync import devices as signed
from tasks.sync.devices import Approval, Revocation, Standing
from tasks.sync.identity import Identity
from tests.sync.devices import new_home

_VAULT = "vault"
_PAIRS = st.tuples(st.integers(0, 4), st.integers(0, 4))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Identity]:
    return [Identity.load_or_create(new_home(tmp_path_factory.mktemp("home")), f"d{number}") for number in range(5)]


def _approves(by: Identity, device: Identity) -> Approval:
    keys = device.keys
    value = {"vault": _VAULT, "device": device.id, "sign": keys.sign.hex(), "age": keys.age, "at": 1}
    return signed.approval(signed.unseal(signed.seal("approval", value, by), "approval", _VAULT))


def _revokes(by: Identity, device: Identity, approved: tuple[Identity, ...] = ()) -> Revocation:
    ids = [one.id for one in approved]
    value = {"vault": _VAULT, "device": device.id, "approved": ids, "revoked": [], "counters": {}, "at": 1}
    return signed.revocation(signed.unseal(signed.seal("revocation", value, by), "revocation", _VAULT))


def _standing(root: Identity, approvals: list[Approval], revocations: list[Revocation]) -> Standing:
    return signed.standing(root.id, root.keys.sign, [_approves(root, root), *approvals], revocations)


@given(st.data())
def test_the_order_of_arrival_decides_nothing(people: list[Identity], data: st.DataObject) -> None:
    approvals = [_approves(people[by], people[to]) for by, to in data.draw(st.lists(_PAIRS, unique=True, max_size=8))]
    revocations = [_revokes(people[by], people[to]) for by, to in data.draw(st.lists(_PAIRS, unique=True, max_size=4))]
    first = _standing(people[0], approvals, revocations)
    again = _standing(people[0], data.draw(st.permutations(approvals)), data.draw(st.permutations(revocations)))
    assert set(first.active) == set(again.active)
    assert {one.device: one.by for one in first.revoked.values()} == {
        one.device: one.by for one in again.revoked.values()
    }
    assert not set(first.active) & set(first.revoked)


def test_a_chain_of_approvals_leads_to_a_device_and_nothing_else_does(people: list[Identity]) -> None:
    root, one, two, stranger, friend = people
    found = _standing(root, [_approves(root, one), _approves(one, two), _approves(stranger, friend)], [])
    assert set(found.active) == {root.id, one.id, two.id}


def test_whom_a_revoked_device_had_let_in_stays_and_whom_it_lets_in_later_does_not(people: list[Identity]) -> None:
    root, stolen, before, after, _ = people
    approvals = [_approves(root, stolen), _approves(stolen, before), _approves(stolen, after)]
    found = _standing(root, approvals, [_revokes(root, stolen, approved=(before,))])
    assert set(found.active) == {root.id, before.id}


def test_of_two_that_revoke_each_other_the_one_nearer_to_the_root_stays(people: list[Identity]) -> None:
    root, near, far, _, _ = people
    approvals = [_approves(root, near), _approves(near, far)]
    found = _standing(root, approvals, [_revokes(far, near), _revokes(near, far)])
    assert set(found.active) == {root.id, near.id}


def test_the_root_itself_can_be_revoked(people: list[Identity]) -> None:
    root, one, *_ = people
    found = _standing(root, [_approves(root, one)], [_revokes(one, root, approved=(one,))])
    assert set(found.active) == {one.id}
