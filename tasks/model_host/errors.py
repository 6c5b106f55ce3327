"""What can go wrong between a request and its answer; each becomes an answer in OpenAI's shape."""

from __future__ import annotations

from blocks.errors import LamaError
from models.model_host import Refusal


class RequestError(LamaError):
    """The request can never be answered as it is.

    Args:
        parameter: the one that is wrong, in the API's words.
        code: OpenAI's word for it, such as `context_length_exceeded`.
    """

    def __init__(
        self, what: str, *, parameter: str = "", code: str = "", component: str = "", remedy: str = ""
    ) -> None:
        super().__init__(what, component=component, remedy=remedy)
        self.parameter = parameter
        self.code = code


class UnknownModelError(RequestError):
    """No model of the catalogue is called that."""


class LoadError(LamaError):
    """A model cannot be loaded; it holds no memory."""


class EngineError(LamaError):
    """An engine failed while it served."""


class NoRoomError(LamaError):
    """There is no memory for it now, or never.

    Args:
        refusal: the sum.
        retry_after_s: seconds after which to ask again; None: waiting cannot help.
    """

    def __init__(self, what: str, refusal: Refusal, *, retry_after_s: float | None, component: str = "") -> None:
        super().__init__(what, component=component)
        self.refusal = refusal
        self.retry_after_s = retry_after_s


class BusyError(LamaError):
    """Too many requests wait already.

    Args:
        retry_after_s: seconds after which to ask again.
    """

    def __init__(self, what: str, *, retry_after_s: float, component: str = "") -> None:
        super().__init__(what, component=component)
        self.retry_after_s = retry_after_s
