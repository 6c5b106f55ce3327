"""The key of the gateway's API."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import HTTPException, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer

from blocks.home import Home
from blocks.settings import Settings

_BEARER = HTTPBearer(auto_error=False, description="The key, from `secrets/gateway.key` of the home.")
_BASIC = HTTPBasic(auto_error=False, description="The key as the password of any user, for browsers.")
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key.")


class Key:
    """The one key. The API asks for it always, on loopback as well: other users of the machine are there, too."""

    def __init__(self, settings: Settings) -> None:
        given = settings.gateway_key
        self._key = (given.get_secret_value() if given is not None else Home(settings).secret("gateway.key")).encode()

    def fits(self, offered: str | None) -> bool:
        """Whether `offered` is the key; takes the same time however much of it is right."""
        return offered is not None and hmac.compare_digest(offered.encode("utf-8", "replace"), self._key)


async def require_key(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None,
    header: Annotated[str | None, Security(_HEADER)] = None,
) -> None:
    """Refuse whoever has no key.

    Raises:
        HTTPException: 401.
    """
    key: Key = request.app.state.gateway.key
    if not key.fits(bearer.credentials if bearer else None) and not key.fits(header):
        raise HTTPException(
            401,
            "The API needs its key: `Authorization: Bearer ...` or `X-API-Key`.",
            headers={"WWW-Authenticate": "Bearer"},
        )


async def require_key_of_browser(
    request: Request,
    basic: Annotated[HTTPBasicCredentials | None, Security(_BASIC)] = None,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None,
    header: Annotated[str | None, Security(_HEADER)] = None,
) -> None:
    """The same for pages: a browser, which has no header to give, asks its user for the key as a password.

    Raises:
        HTTPException: 401.
    """
    key: Key = request.app.state.gateway.key
    offered = (basic.password if basic else None, bearer.credentials if bearer else None, header)
    if not any(key.fits(one) for one in offered):
        raise HTTPException(
            401,
            "The page needs the gateway's key, as the password of any user.",
            headers={"WWW-Authenticate": 'Basic realm="Lama: any user, the key as password", charset="UTF-8"'},
        )
