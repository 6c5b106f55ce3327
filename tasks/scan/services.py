"""How running services are configured: authentication, encryption, certificates, users, default passwords."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import SecretStr

from blocks.errors import UnavailableError
from blocks.home import Home
from blocks.settings import Settings
from models.health_check import Service, ServiceKind
from models.report import Finding, Severity, Skip
from models.scan import ScanSettings
from tasks.scan.built_in import BuiltInRule, printable
from tasks.scan.known_passwords import takes_a_known_password
from tasks.scan.listeners import is_loopback
from tasks.scan.looked import Looked, together
from tasks.scan.open_servers import look_at_platform, look_at_service
from tasks.scan.postgresql_rules import Told, ask_postgresql
from tasks.scan.redis_protocol import may_be_redis
from tasks.scan.tls import Tls, look_at_tls

PLAIN = BuiltInRule(
    "SV001",
    "is spoken to without encryption, across the network.",
    Severity.medium,
    "Whoever is on the way reads and changes what is sent; high where a password or a token goes the same way.",
    "Give it TLS, or put a proxy with TLS before it, and write `https://`, `bolt+s://` or `sslmode=verify-full`.",
)
EXPIRED = BuiltInRule(
    "SV002",
    "shows a certificate that is not valid at this time.",
    Severity.high,
    "Clients refuse it, or have been told to look at no certificate at all.",
    "Renew the certificate, and let a program do that from now on.",
)
EXPIRING = BuiltInRule(
    "SV003",
    "shows a certificate that ends within 14 days.",
    Severity.medium,
    "When it ends, clients refuse the service.",
    "Renew it; where a program should have done so, find out why it has not.",
)
DISTRUSTED = BuiltInRule(
    "SV004",
    "shows a certificate that this machine does not trust.",
    Severity.medium,
    "Clients that accept it accept everybody's: encryption without knowing with whom.",
    "Let a known authority sign it, or install that of your own house on every machine (SSL_CERT_FILE).",
)
MISNAMED = BuiltInRule(
    "SV005",
    "shows a certificate for other names.",
    Severity.medium,
    "Clients that accept it accept one of anybody who has a certificate at all.",
    "Get a certificate with this name in its subject alternative names, or use a name that it has.",
)
OLD_TLS = BuiltInRule(
    "SV006",
    "takes versions of TLS before 1.2.",
    Severity.medium,
    "Their hashes and ciphers are broken (RFC 8996); whoever is on the way can ask both sides for them.",
    "Set the lowest version to TLS 1.2: `ssl_min_protocol_version`, `ssl_protocols`, `dbms.ssl.policy.*.tls_versions`.",
)
OLD_HASH = BuiltInRule(
    "SV007",
    "stores passwords as MD5.",
    Severity.medium,
    "Such a hash is as good as the password itself, and quickly guessed.",
    "`password_encryption = scram-sha-256`, then set every password anew, and `scram-sha-256` in pg_hba.conf.",
)
SUPERUSER = BuiltInRule(
    "SV008",
    "is used as a superuser.",
    Severity.medium,
    "A flaw in the application is one in the whole server: superusers read its files and run programs.",
    "Make a role that owns the application's database and nothing else, and use it in the address.",
)
TRUSTED = BuiltInRule(
    "SV009",
    "lets users in without a password, or asks for it in the clear.",
    Severity.low,
    "`trust` lets everybody be anybody who reaches the server that way; high where other machines do.",
    "Write `scram-sha-256` (or `peer` for sockets) in those lines of pg_hba.conf, and reload.",
)
DEFAULT = BuiltInRule(
    "SV010",
    "takes a password that it comes with.",
    Severity.critical,
    "It is the first that is tried by everybody who finds the server.",
    "Set another one: `openssl rand -hex 24`.",
)
RULES = (PLAIN, EXPIRED, EXPIRING, DISTRUSTED, MISNAMED, OLD_TLS, OLD_HASH, SUPERUSER, TRUSTED, DEFAULT)

KIND = "service"
_SOON = timedelta(days=14)
_TLS_SCHEMES = {"https": 443, "bolt+s": 7687, "bolt+ssc": 7687, "neo4j+s": 7687, "neo4j+ssc": 7687}
_PLAIN_SCHEMES = {"http", "bolt", "neo4j", "tcp", "redis"}
_ALWAYS_SECRET = {ServiceKind.postgresql, ServiceKind.bolt}
_DEMANDED = {"require", "verify-ca", "verify-full"}
_DELAY_S = 1.0


async def look_at_services(
    settings: Settings,
    services: Sequence[Service],
    chosen: ScanSettings,
    *,
    now: datetime | None = None,
    delay_s: float = _DELAY_S,
) -> Looked:
    """How `services` and this node's own platform are configured, as far as can be seen from here.

    What cannot be reached is a skip. Passwords are only tried when `chosen.default_passwords` says so, and only
    on `services`.

    Args:
        settings: where the platform is, and the home with the services' secrets.
        services: `[[services]]` of `lama.toml`.
        chosen: `[scan]` of `lama.toml`.
        now: the time to judge certificates by; by default the current one.
        delay_s: seconds between two passwords that are tried.
    """
    moment = now or datetime.now(UTC)
    own = [Service(name="prefect", kind=ServiceKind.prefect, url=settings.api_url)]
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        own.append(Service(name="postgres", kind=ServiceKind.postgresql, url=url))
    if settings.graph_uri is not None:
        own.append(Service(name="graph", kind=ServiceKind.bolt, url=settings.graph_uri))
    looks = [_look(service, settings, moment, None) for service in own]
    looks += [_look(service, settings, moment, delay_s if chosen.default_passwords else None) for service in services]
    parts = await asyncio.gather(look_at_platform(settings), *looks)
    opened = await asyncio.gather(*map(look_at_service, services))
    total = Looked(metrics={"security_services_total": float(len(own) + len(services))}, engines={"services": "looked"})
    return together((*parts, *opened, total))


async def _look(service: Service, settings: Settings, now: datetime, delay_s: float | None) -> Looked:
    """One service. `delay_s` is None where no passwords are to be tried."""
    try:
        parts = urlsplit(service.url)
        host, port = parts.hostname or "", parts.port
        if service.kind is ServiceKind.postgresql and not host:
            asked = dict(parse_qsl(parts.query)).get("host", "")
            host = "" if asked.startswith(("/", "@")) else asked  # sockets have no name
    except ValueError:
        return Looked(skipped=(_skip(service, "has an address that cannot be understood."),))
    findings: list[Finding] = []
    skipped: list[Skip] = []
    try:
        secret = _secret(settings, service)
    except UnavailableError as error:
        secret = None
        skipped.append(_skip(service, error.what))
    try:
        place = _Place(parts.scheme, host, port)
        encryption, untried = await _encryption(service, place, now, secret=_is_secret(service, secret))
        findings += encryption
        if untried:
            what = "may take versions of TLS before 1.2: the library of this machine cannot ask for them."
            skipped.append(_skip(service, what))
        if service.kind is ServiceKind.postgresql and (secret or parts.password or not host):
            password = secret.get_secret_value() if secret else None
            findings += judge_postgresql(service, await ask_postgresql(service.url, password, service.timeout_s))
        if (
            delay_s is not None
            and _can_be_tried(service, host)
            and await takes_a_known_password(service, delay_s=delay_s)
        ):
            severity = Severity.high if is_loopback(host) else None
            findings.append(_finding(service, DEFAULT, "Which one is not told here.", severity))
    except UnavailableError as error:
        skipped.append(_skip(service, error.what))
    return Looked(tuple(findings), tuple(skipped))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a service is."""

    scheme: str
    host: str
    """Empty for a UNIX socket."""
    port: int | None

    @property
    def far(self) -> bool:
        """Whether others may be on the way to it."""
        return bool(self.host) and not is_loopback(self.host)


async def _encryption(service: Service, place: _Place, now: datetime, *, secret: bool) -> tuple[list[Finding], bool]:
    """Findings about the way to a service, and whether there are versions of TLS that could not be asked for."""
    heavier = Severity.high if secret else None
    postgresql = service.kind is ServiceKind.postgresql
    if place.scheme not in _TLS_SCHEMES and not (postgresql and place.far):
        plain = place.scheme in _PLAIN_SCHEMES and place.far
        return [
            _finding(service, PLAIN, f"Its address begins with `{place.scheme}://`.", heavier)
        ] if plain else [], False
    port = place.port or _TLS_SCHEMES.get(place.scheme, 5432)
    tls = await look_at_tls(place.host, port, postgresql=postgresql, timeout_s=service.timeout_s)
    if tls is None:
        return [_finding(service, PLAIN, "The server has TLS switched off.", heavier)], False
    found = [*judge_tls(service, tls, place.host, now)]
    mode = dict(parse_qsl(urlsplit(service.url).query)).get("sslmode", "prefer")
    if postgresql and mode not in _DEMANDED:
        found.append(_finding(service, PLAIN, f"sslmode is `{printable(mode)[:20]}`: it is not demanded."))
    return found, tls.old_untried


def judge_tls(service: Service, tls: Tls, host: str, now: datetime) -> Iterator[Finding]:
    """What there is to say about the certificate and the versions of a server that is reached as `host`."""
    certificate = tls.certificate
    ends = f"{certificate.ends:%Y-%m-%d %H:%M} UTC"
    if certificate.ends <= now:
        yield _finding(service, EXPIRED, f"It ended on {ends}.")
    elif certificate.begins > now:
        yield _finding(service, EXPIRED, f"It begins on {certificate.begins:%Y-%m-%d %H:%M} UTC only.")
    elif certificate.ends <= now + _SOON:
        yield _finding(service, EXPIRING, f"It ends on {ends}.")
    if tls.distrust:
        yield _finding(service, DISTRUSTED, f"The reason: {printable(tls.distrust)[:200]}.")
    if not certificate.is_for(host):
        names = ", ".join(certificate.names[:5]) or "no name at all"
        yield _finding(service, MISNAMED, f"It is for {printable(names)[:300]}, not for {printable(host)[:100]}.")
    if tls.old:
        yield _finding(service, OLD_TLS, f"It takes TLS {tls.old}.")


def judge_postgresql(service: Service, told: Told) -> Iterator[Finding]:
    """What there is to say about the settings of a PostgreSQL."""
    if told.encryption == "md5":
        yield _finding(service, OLD_HASH, "password_encryption is md5: new passwords are stored like that.")
    elif told.old_hashes:
        yield _finding(service, OLD_HASH, f"{told.old_hashes} roles have a password of that kind.")
    if told.superuser:
        yield _finding(service, SUPERUSER, f"Its address and secret lead to `{printable(told.user)[:80]}`.")
    if told.entries:
        far = [entry for entry in told.entries if entry.far]
        lines = ", ".join(f"{entry.line} ({entry.method})" for entry in told.entries[:10])
        severity = Severity.high if far else None
        yield _finding(service, TRUSTED, f"Lines of pg_hba.conf: {lines}.", severity)


def _can_be_tried(service: Service, host: str) -> bool:
    if service.kind is ServiceKind.tcp:
        return may_be_redis(service.url, service.name)
    return bool(host)


def _is_secret(service: Service, secret: SecretStr | None) -> bool:
    """Whether a password or a token goes to `service`."""
    return secret is not None or "@" in urlsplit(service.url).netloc or service.kind in _ALWAYS_SECRET


def _secret(settings: Settings, service: Service) -> SecretStr | None:
    """The secret that `service` names.

    Raises:
        UnavailableError: it names one that is not there.
    """
    if service.secret is None:
        return settings.letta_token if service.kind is ServiceKind.letta else None
    try:
        text = (Home(settings).secrets / service.secret).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(
            f"has a secret {service.secret!r} that cannot be read ({type(error).__name__})."
        ) from error
    return SecretStr(text.strip())


def _finding(service: Service, rule: BuiltInRule, detail: str, severity: Severity | None = None) -> Finding:
    host = urlsplit(service.url).hostname or ""
    return Finding(
        key=f"security.{KIND}:{service.name}/{rule.id}",
        severity=severity or rule.severity,
        component=service.name,
        title=f"{service.name} ({service.kind.value}) {rule.what}",
        detail=f"{detail} {rule.id}. {rule.why}",
        remedy=rule.remedy,
        evidence={"rule": rule.id, "kind": service.kind.value, "host": unquote(host), "loopback": is_loopback(host)},
    )


def _skip(service: Service, what: str) -> Skip:
    return Skip(
        area="security",
        component=service.name,
        reason=f"Not all of its configuration was looked at: it {what}",
        hides=(f"security.{KIND}:{service.name}/",),
    )
