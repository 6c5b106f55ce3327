"""The only reader of the environment: one typed object that everything else is given."""

from __future__ import annotations

import hashlib
import socket
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

CHECKOUT = Path(__file__).resolve().parent.parent
"""The folder that holds `prefect.yaml` and the packages."""

_BOLT_SCHEMES = frozenset({"bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc"})
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Settings(BaseSettings):
    """Every setting of a node, from `LAMA_...` environment variables (or a few well-known others)."""

    model_config = SettingsConfigDict(
        env_prefix="LAMA_",
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,  # an empty variable is one that was not set, never an empty password
    )

    home: Path = Field(default=Path("~/.lama"), description="Where all state lives, mode 0700.")
    config: Path | None = Field(
        default=None, description="The `lama.toml` to use; otherwise the one in the home, if there is one."
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address that Prefect, the gateway, MCP and the model host listen on. "
        "Other than loopback needs authentication.",
    )
    prefect_port: int = Field(default=4200, ge=1, le=65535, description="Port of the Prefect server and UI.")
    gateway_port: int = Field(default=8765, ge=1, le=65535, description="Port of the gateway.")
    mcp_port: int = Field(default=8766, ge=1, le=65535, description="Port on which tools are offered by MCP.")
    mcp_key: SecretStr | None = Field(
        default=None, description="Key that callers by MCP have; otherwise generated into the home."
    )
    model_host_port: int = Field(
        default=8767,
        ge=1,
        le=65535,
        description="Port of the model host. With several GPUs, that of the one address of their hosts, "
        "which take the next ones.",
    )
    model_host_elsewhere: str | None = Field(
        default=None,
        validation_alias="LAMA_MODEL_HOST_URL",
        description="`http://...` of a model host to use instead of starting one. "
        "Runs of the pool `gpu` are told their own.",
    )
    model_host_key: SecretStr | None = Field(
        default=None, description="Key of the model host's API; otherwise generated into the home."
    )
    model_host_client_key: SecretStr | None = Field(
        default=None,
        description="Key for programs that only ask models: it neither manages the model host nor claims a high "
        "priority; otherwise generated into the home.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="`postgresql://...` of a PostgreSQL >= 15 to use instead of the embedded one.",
    )
    prefect_api_url: str | None = Field(
        default=None,
        description="`http://.../api` of a Prefect server to use instead of starting one.",
    )
    prefect_auth: SecretStr | None = Field(
        default=None,
        description="`user:password` that Prefect's API asks for; required when it listens beyond loopback.",
    )
    graph_uri: str | None = Field(
        default=None,
        description="`bolt://...` or `neo4j+s://...` of a Neo4j >= 5 to use instead of the embedded graph server.",
    )
    graph_user: str = Field(default="neo4j", description="Who to sign in as there.")
    graph_password: SecretStr | None = Field(default=None, description="Its password.")
    graph_reader_user: str | None = Field(
        default=None, description="Who questions in Cypher sign in as there; otherwise the same, and only reads."
    )
    graph_reader_password: SecretStr | None = Field(default=None, description="The reader's password.")
    graph_database: str | None = Field(default=None, description="Which database of it; otherwise its default one.")
    graph_port: int = Field(
        default=8764, ge=1, le=65535, description="Port on loopback of the embedded graph server (Bolt)."
    )
    graph_key: SecretStr | None = Field(
        default=None,
        description="Key that sensitive properties of the graph are encrypted with: 32 bytes in base64; "
        "otherwise generated into the home.",
    )
    gateway_key: SecretStr | None = Field(
        default=None, description="Key of the gateway's API; otherwise generated into the home."
    )
    gateway_outside: str | None = Field(
        default=None,
        validation_alias="LAMA_GATEWAY_URL",
        description="Where others reach the gateway, such as `http://gateway:8765`: it answers to that name, "
        "and the health check looks for it there.",
    )
    gemini_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("LAMA_GEMINI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"),
        description="Key for Gemini, which then writes the narrative of reports.",
    )
    gemini_base_url: str | None = Field(default=None, description="Another address for Gemini's API.")
    letta_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("LAMA_LETTA_TOKEN", "LETTA_API_KEY"),
        description="Token for the Letta server that is watched.",
    )
    github_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("LAMA_GITHUB_TOKEN", "GITHUB_TOKEN", "GH_TOKEN"),
        description="Token with which pull requests are made; needs contents and pull requests to write.",
    )
    pip_index_url: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("LAMA_PIP_INDEX_URL", "PIP_INDEX_URL"),
        description="Package index that newer versions are looked up in; otherwise the one in pip's configuration.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="How much the processes log."
    )
    node_name: str | None = Field(
        default=None,
        min_length=1,
        description="What reports call this node; otherwise its host's name. Containers need it: theirs changes.",
    )
    component: str = Field(default="lama", description="Name of this process in its log lines; the supervisor sets it.")
    start_timeout_s: float = Field(
        default=120.0, gt=0, description="Seconds that `lama up` waits for a process to become ready."
    )
    worker_poll_s: float = Field(
        default=0.25, ge=0.05, le=60, description="Seconds between two looks of the worker at its queue."
    )

    @field_validator("prefect_auth", mode="after")
    @classmethod
    def _user_and_password(cls, auth: SecretStr | None) -> SecretStr | None:
        if auth is not None:
            user, colon, password = auth.get_secret_value().partition(":")
            if not (user and colon and password):
                raise ValueError("write it as user:password, both not empty")
        return auth

    @field_validator("graph_uri", mode="after")
    @classmethod
    def _bolt(cls, uri: str | None) -> str | None:
        if uri is not None:
            parts = urlsplit(uri)
            if parts.scheme not in _BOLT_SCHEMES or not parts.hostname:
                raise ValueError(f"write it as SCHEME://HOST:PORT; schemes: {', '.join(sorted(_BOLT_SCHEMES))}")
            if "@" in parts.netloc:
                raise ValueError("user and password go into LAMA_GRAPH_USER and LAMA_GRAPH_PASSWORD")
        return uri

    @field_validator("gateway_key", "mcp_key", "model_host_key", "gemini_api_key", "github_token", mode="after")
    @classmethod
    def _not_empty(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not secret.get_secret_value().strip():
            raise ValueError("it is empty")
        return secret

    @field_validator("home", mode="after")
    @classmethod
    def _absolute_home(cls, home: Path) -> Path:
        return home.expanduser().absolute()

    def environment(self) -> dict[str, str]:
        """The variables that make another process see these settings; only what differs from the defaults.

        Secrets are among them: hand them to a process of ours, and show them to nobody.
        """
        variables = {"LAMA_HOME": str(self.home)}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value is None or value == field.default or name == "component":
                continue
            shown = value.get_secret_value() if isinstance(value, SecretStr) else value
            alias = field.validation_alias if isinstance(field.validation_alias, str) else f"LAMA_{name.upper()}"
            variables[alias] = str(shown).lower() if isinstance(shown, bool) else str(shown)
        return variables

    @property
    def instance(self) -> str:
        """Short stable name of this home, for sockets and for finding our own processes."""
        return hashlib.sha256(str(self.home).encode()).hexdigest()[:12]

    @property
    def node(self) -> str:
        """What reports call this node."""
        return self.node_name or socket.gethostname()

    @property
    def on_loopback(self) -> bool:
        """Whether everything listens on loopback only."""
        return self.host in LOOPBACK

    @property
    def config_path(self) -> Path:
        """The `lama.toml` that applies; it need not exist."""
        return self.config.expanduser().absolute() if self.config else self.home / "lama.toml"

    @property
    def api_url(self) -> str:
        """Prefect's API, ours or the one that was given."""
        if self.prefect_api_url:
            return self.prefect_api_url.rstrip("/")
        return f"http://{self.reachable_host}:{self.prefect_port}/api"

    @property
    def ui_url(self) -> str:
        """Prefect's UI."""
        return self.api_url.removesuffix("/api")

    @property
    def gateway_url(self) -> str:
        """The gateway."""
        return f"http://{self.reachable_host}:{self.gateway_port}"

    @property
    def mcp_url(self) -> str:
        """Where tools are offered by MCP."""
        return f"http://{self.reachable_host}:{self.mcp_port}"

    @property
    def model_host_url(self) -> str:
        """The model host to ask, without the `/v1` of its OpenAI-compatible part."""
        if self.model_host_elsewhere is not None:
            return self.model_host_elsewhere.rstrip("/")
        return f"http://{self.reachable_host}:{self.model_host_port}"

    @property
    def reachable_host(self) -> str:
        """An address at which what listens on `host` is reached from this machine."""
        if self.host in {"0.0.0.0", "::"}:  # noqa: S104  # nosec B104 - compared with, not bound to
            return "127.0.0.1"
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def prefect_credentials(self) -> tuple[str, str] | None:
        """User and password for Prefect's API; None where it asks for none."""
        if self.prefect_auth is None:
            return None
        user, _, password = self.prefect_auth.get_secret_value().partition(":")
        return user, password

    @property
    def embeds_postgres(self) -> bool:
        """Whether the embedded PostgreSQL is ours to run."""
        return self.database_url is None

    @property
    def embeds_graph(self) -> bool:
        """Whether the graph is on the embedded server, rather than on one that was given."""
        return self.graph_uri is None

    @property
    def embeds_prefect(self) -> bool:
        """Whether the Prefect server is ours to run."""
        return self.prefect_api_url is None


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
