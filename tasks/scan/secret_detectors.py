"""Detectors that detect-secrets lacks, for the services that Lama's users work with. Loaded by it, by path.

Only forms that cannot be mistaken: a fixed beginning, and a length or an alphabet that prose and hashes do not have;
and, more weakly, what is called a token and has the disorder of one.
"""

from __future__ import annotations

import re

from detect_secrets.plugins.base import RegexBasedDetector

OWN = (
    *("LettaDetector", "GoogleDetector", "NotionDetector", "TaskadeDetector", "PrefectDetector", "MetaDetector"),
    *("HubSpotDetector", "AnthropicDetector", "OpenAIProjectDetector", "HuggingFaceDetector"),
    *("GitHubFineGrainedDetector", "NpmTokenDetector", "AgeDetector", "NamedTokenDetector", "NamedHexDetector"),
    "PasswordInTextDetector",
)
"""The names of the detectors in this file."""

_START = r"(?<![A-Za-z0-9_-])"
_END = r"(?![A-Za-z0-9_-])"
_NAMES_ONE = (
    r"(?:token|secret|passw(?:or)?d|passphrase|credentials?|authorization"
    r"|(?:access|account|admin|api|app|auth|client|crypt|encryption|gateway|hmac|jwt|master|private|server|service"
    r"|session|signing|storage|webhook)[-_]?key"
    r"|key(?<=(?-i:_KEY)))"  # in capitals it is a setting; elsewhere that of a cache, a table, a request
)
_NAMES_NONE = (
    r"(?:hash(?!i)|sha(?:\d|[-_]|sum|(?![a-z]))|md5|digest|checksum|(?<![a-z])etag|fingerprint|thumbprint|integrity|commit"
    r"|revision|address|public(?!a)|(?<![a-z])pub(?![a-z])|idempoten|dedup|uuid|(?:page|next|continuation|sync)[-_]?token"
    r"|(?:cache|foreign|group|host|index|lookup|object|partition|primary|routing|row|shard|sort|unique|build)[-_]?key"
    r"|[-_]ids?(?![a-z])|(?-i:[a-z]Ids?(?![a-z])))"
)
"""What a name says when its value is no secret although another word of it is one of secrets: `token_hash`."""


class LettaDetector(RegexBasedDetector):
    """API keys of Letta Cloud."""

    secret_type = "Letta API Key"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(rf"{_START}sk-let-[A-Za-z0-9+/_-]{{20,}}={{0,2}}"),)


class GoogleDetector(RegexBasedDetector):
    """API keys of Google, Gemini's among them, in the old form and in the one of 2025."""

    secret_type = "Google API Key"  # noqa: S105  # pragma: allowlist secret
    denylist = (
        re.compile(rf"{_START}AIza[0-9A-Za-z_-]{{35}}{_END}"),
        re.compile(rf"{_START}AQ\.[0-9A-Za-z_-]{{45,64}}{_END}"),
    )


class NotionDetector(RegexBasedDetector):
    """Tokens of Notion's integrations, in the form before and after 2024-09."""

    secret_type = "Notion Token"  # noqa: S105  # pragma: allowlist secret
    denylist = (
        re.compile(rf"{_START}secret_[0-9A-Za-z]{{43}}{_END}"),
        re.compile(rf"{_START}ntn_[0-9]{{11}}[0-9A-Za-z]{{35}}{_END}"),
    )


class TaskadeDetector(RegexBasedDetector):
    """Personal tokens of Taskade."""

    secret_type = "Taskade Token"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(rf"{_START}tskdp_[0-9A-Za-z]{{16,}}{_END}"),)


class PrefectDetector(RegexBasedDetector):
    """Keys of Prefect Cloud, of a user or of a service account."""

    secret_type = "Prefect API Key"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(rf"{_START}pn[ub]_[0-9A-Za-z]{{36}}{_END}"),)


class MetaDetector(RegexBasedDetector):
    """Access tokens of Meta's Graph API, the one of the WhatsApp Cloud API: 130 to 300 letters and digits."""

    secret_type = "Meta (WhatsApp) Access Token"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(r"(?<![A-Za-z0-9_+/=-])EAA[0-9A-Za-z]{97,500}(?![A-Za-z0-9_+/=-])"),)


class HubSpotDetector(RegexBasedDetector):
    """Tokens of private apps of HubSpot: a region and a UUID."""

    secret_type = "HubSpot Private App Token"  # noqa: S105  # pragma: allowlist secret
    denylist = (  # only the beginning is a group: detect-secrets takes what holds a UUID for none
        re.compile(
            rf"{_START}(pat-[a-z]{{2}}[0-9])-[0-9a-fA-F]{{8}}(?:-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}}{_END}"
        ),
    )


class AnthropicDetector(RegexBasedDetector):
    """Keys of Anthropic's API, of its administration and of its applications."""

    secret_type = "Anthropic API Key"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(rf"{_START}sk-ant-(?:api|admin|oat|ort|sid)[0-9]{{2}}-[0-9A-Za-z_-]{{80,120}}{_END}"),)


class OpenAIProjectDetector(RegexBasedDetector):
    """Keys of OpenAI of projects, service accounts and administrators: their halves may hold hyphens."""

    secret_type = "OpenAI Project Key"  # noqa: S105  # pragma: allowlist secret
    denylist = (
        re.compile(rf"{_START}sk-(?:proj|svcacct|admin)-[0-9A-Za-z_-]{{20,80}}T3BlbkFJ[0-9A-Za-z_-]{{20,80}}{_END}"),
    )


class HuggingFaceDetector(RegexBasedDetector):
    """User tokens of the Hugging Face Hub."""

    secret_type = "Hugging Face Token"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(rf"{_START}hf_[0-9A-Za-z]{{34}}{_END}"),)


class GitHubFineGrainedDetector(RegexBasedDetector):
    """Fine-grained personal tokens of GitHub."""

    secret_type = "GitHub Fine-Grained Token"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(rf"{_START}github_pat_[0-9A-Za-z]{{22}}_[0-9A-Za-z]{{59}}{_END}"),)


class NpmTokenDetector(RegexBasedDetector):
    """Access tokens of npm, wherever they stand."""

    secret_type = "npm Access Token"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(rf"{_START}npm_[0-9A-Za-z]{{36}}{_END}"),)


class AgeDetector(RegexBasedDetector):
    """Identities of age: Bech32 in capitals, 58 characters after the separator (age's specification, section 2)."""

    secret_type = "age Secret Key"  # noqa: S105  # pragma: allowlist secret
    denylist = (re.compile(rf"{_START}AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{{58}}{_END}"),)


class NamedTokenDetector(RegexBasedDetector):
    """Values of what is called a token, also without quotes, when they mix capitals, small letters and digits."""

    secret_type = "Token by Its Name"  # noqa: S105  # pragma: allowlist secret
    denylist = (
        re.compile(
            r"(?:token|bearer|credentials?|passphrase|passwd|password|secret|(?:access|api|signing|private)[-_]?key)"
            r"\w{0,20}[\"']?\]?\s{0,4}(?:=|:|:=|=>|\s)\s{0,4}(?:bearer\s+)?[\"'`]?"
            r"(?=[^\s\"'`]*[0-9])(?-i:(?=[^\s\"'`]*[a-z])(?=[^\s\"'`]*[A-Z]))([A-Za-z0-9+/_=-]{20,512})(?![A-Za-z0-9.(\[])",
            re.IGNORECASE,
        ),
    )


class NamedHexDetector(RegexBasedDetector):
    """What a token, a secret or a key is assigned when it is of 32 to 128 hexadecimal digits, quoted or not."""

    secret_type = "Hexadecimal Token by Its Name"  # noqa: S105  # pragma: allowlist secret
    denylist = (
        re.compile(
            r"(?<![\w-])(?=[\w-]{3,70}[\"'`]?\]?\s{0,4}[:=])"  # the cheap test first
            rf"(?![\w-]{{0,60}}{_NAMES_NONE})[\w-]{{0,40}}{_NAMES_ONE}[\w-]{{0,20}}[\"'`]?\]?\s{{0,4}}"
            r"(?::\s{0,4}[A-Za-z.]{1,20}\s{0,4}(?==))?(?::-|:=|=>|={1,3}|:)\s{0,4}[\"'`]?(?:(?:bearer|token)\s{1,4})?"
            r"(?:0x)?(?=[a-f]{0,128}[0-9])(?=[0-9]{0,128}[a-f])([0-9a-f]{32,128})(?![\w.(\[/+-])",
            re.IGNORECASE,
        ),
    )


class PasswordInTextDetector(RegexBasedDetector):
    """Passwords where no quotes and no assignment show them: connection strings, XML, `.netrc`."""

    secret_type = "Password in Text"  # noqa: S105  # pragma: allowlist secret
    denylist = (
        re.compile(r";\s?(?:password|pwd)=([^;\"'\s${}<>]{6,80})(?=[;\"'])", re.IGNORECASE),
        re.compile(r"<[\w.:-]{0,30}(?:password|passphrase|api-?key|secret)>([^<>\s${}]{6,200})</", re.IGNORECASE),
        re.compile(r"\blogin\s{1,4}\S{1,80}\s{1,4}password\s{1,4}([^\s${}<>]{6,80})"),
    )
