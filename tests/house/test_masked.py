"""What messages and diffs quote of files holds no secret."""

from __future__ import annotations

import re

import pytest

from tasks.masked import masked
from tests.scan.corpus import SECRETS, Maker


@pytest.mark.parametrize("kind", SECRETS)
def test_nothing_of_a_planted_secret_can_be_read_where_it_was(kind: str) -> None:
    for seed in range(30):
        value = SECRETS[kind](Maker(seed))
        for line in (f"x {value}", f'token = "{value}"', f"# {value}", f'  "key": "{value}",'):
            told = masked(line)
            assert value not in told
            parts = [part for part in re.findall(r"[A-Za-z0-9]{12,}", value) if not part.isalpha()]
            assert not any(part in told for part in parts), (line, told)


@pytest.mark.parametrize(
    "line",
    [
        "requests==2.31.0 --hash=sha256:58cd2187c01e70e6e26505bca751777aa9f2ee0b7f4300988b709f44e013003f",
        "token==1.2.3",
        'token = ">=1,<2"',
        '"token": "^1.0.2",',
        '"integrity": "sha512-2kDEe57lecTulaDIuNTPy3Ry4gLGJ6Z1O3vE1krgXZNrsQ+LFTGHVxVjcXPs17LhbZVGedAJv8XZ1tvj5FvSg=="',
        "thing @ git+https://github.com/acme/thing@0123456789abcdef0123456789abcdef01234567",
        "git+ssh://git@github.com/acme/thing.git",
        "types-aiobotocore-secretsmanager>=2.13.0 ; python_version >= '3.11'",
    ],
)
def test_what_is_none_stays_as_it_is(line: str) -> None:
    assert masked(line) == line


@pytest.mark.parametrize(
    "line",
    [
        'API_KEY = os.environ.get("SHOP_KEY", "hunter2secret")',
        'TOKEN = get("x") or "hunter2secret"',
        'DB_PASSWORD: str = os.getenv("DB_PASSWORD", default="hunter2secret")',
        'f(token=os.environ.get("T", "hunter2secret"))',
        'SECRET_KEY = b"hunter2secret"',
        'SECRETS = ["hunter2secret", "hunter2secret"]',
        'password = "".join(["hunter2secret"])',
    ],
)
def test_an_expression_under_the_name_of_a_secret_shows_no_text(line: str) -> None:
    assert "hunter2" not in masked(line)


def test_long_lines_are_masked_in_time() -> None:
    assert "hunter2secret" not in masked("token=a " * 20_000 + 'token=f("hunter2secret")')
