"""What the error codes of WhatsApp's Cloud API mean for a message. Pure.

https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes. An error is told instead of sending, so
what it is about was not sent.
"""

from __future__ import annotations

from models.handoff import Again, Refused

_OURS = {
    0: "it does not accept the access token",
    3: "the access token may not do this",
    10: "the access token may not do this",
    190: "the access token has expired",
    368: "the account is restricted",
    131005: "the access token may not do this",
    131031: "the account is locked",
    131042: "the account cannot pay",
    131045: "the number is not registered",
    131048: "too many messages of the number were marked as spam",
    131057: "the account is under maintenance",
    133010: "the number is not registered",
}
"""No message is at fault: the route waits until somebody has seen to it."""
_LIMITS = frozenset({4, 80007, 130429})
_PASSING = {2: "it is overloaded", 131016: "it is overloaded", 133004: "it is away"}
_PAIR = 131056
_PAIR_WAIT_S = 6.0
"""One message every six seconds may be sent to one person."""
_UNKNOWN = frozenset({1, 131000})
_REFUSALS = {
    131026: "the recipient cannot be reached by WhatsApp, or has not accepted its terms",
    131047: "the recipient last wrote more than 24 hours ago; only a template may be sent now",
    131049: "Meta keeps it from the recipient, who had many of the kind",
    131050: "the recipient takes no marketing messages",
    132001: "there is no such template in that language",
    132000: "the template has another number of placeholders",
    132015: "the template is paused",
    132016: "the template is disabled",
}


def meaning(code: int, *, status: int, after_s: float | None = None) -> Again | Refused:
    """What follows from an answer with the error `code` and the HTTP status `status`."""
    if code in _OURS or 200 <= code <= 299 or status in {401, 403}:
        return Again(f"WhatsApp: {_OURS.get(code, 'the access token may not do this')} ({code})", outage=True)
    if code in _LIMITS or status == 429:
        return Again(f"WhatsApp takes no more messages for now ({code})", after_s=after_s, outage=True)
    if code in _PASSING:
        return Again(f"WhatsApp: {_PASSING[code]} ({code})", after_s=after_s, outage=True)
    if code == _PAIR:
        return Again(f"WhatsApp takes no more messages to this recipient for now ({code})", after_s=_PAIR_WAIT_S)
    if code in _UNKNOWN and status >= 500:
        return Again(f"WhatsApp could not do it ({code})", after_s=after_s)
    return refusal(code)


def refusal(code: int) -> Refused:
    """Why a message was not delivered."""
    known = _REFUSALS.get(code) or _OURS.get(code)
    return Refused(f"WhatsApp: {known} ({code})" if known else f"WhatsApp refuses it ({code})")
