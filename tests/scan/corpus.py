"""Planted secrets and what only looks like them, made anew from a seed: no file of the project holds any."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LOWER, UPPER, DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
WORD = UPPER + LOWER + DIGITS
SAFE = WORD + "-_"
HEX = DIGITS + "abcdef"
BECH32 = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"


@dataclass(frozen=True)
class Sample:
    """One file."""

    name: str
    content: bytes
    kind: str
    value: str = ""
    """The secret in it; empty in a look-alike."""


class Maker:
    """Values from one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def text(self, alphabet: str, length: int) -> str:
        return "".join(self.chance.choices(alphabet, k=length))

    def raw(self, length: int) -> bytes:
        return self.chance.randbytes(length)

    def mixed(self, length: int, alphabet: str = WORD) -> str:
        """Of capitals, small letters and digits, all of them there."""
        while True:
            value = self.text(alphabet, length)
            if all(set(value) & set(part) for part in (LOWER, UPPER, DIGITS)):
                return value

    def part(self, length: int) -> str:
        return base64.urlsafe_b64encode(self.raw(length)).decode().rstrip("=")

    def jwt(self) -> str:
        head = {"alg": "RS256", "typ": "JWT", "kid": self.text(HEX, 8)}
        claims = {"sub": self.text(LOWER, 12), "aud": "orders", "iat": self.chance.randrange(10**9)}
        parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in (head, claims)]
        return ".".join((*parts, self.part(64)))

    def pem(self, label: str, length: int = 900) -> str:
        body = base64.b64encode(self.raw(length)).decode()
        lines = [body[begin : begin + 64] for begin in range(0, len(body), 64)]
        return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----"))

    def password(self) -> str:
        return self.mixed(8) + self.chance.choice("!%^&*+") + self.mixed(5)

    def uuid(self) -> str:
        return str(uuid.UUID(bytes=self.raw(16)))


SECRETS: dict[str, Callable[[Maker], str]] = {
    "Letta": lambda m: "sk-let-" + base64.b64encode(m.raw(60)).decode(),
    "Gemini": lambda m: "AI" + "za" + m.mixed(35, SAFE),
    "Gemini, new": lambda m: "AQ." + m.mixed(50, SAFE),
    "Notion": lambda m: "ntn_" + m.text(DIGITS, 11) + m.mixed(35),
    "Notion, old": lambda m: "secret" + "_" + m.mixed(43),
    "Taskade": lambda m: "tskdp_" + m.mixed(36),
    "Prefect user": lambda m: "pnu_" + m.mixed(36),
    "Prefect service account": lambda m: "pnb_" + m.mixed(36),
    "WhatsApp": lambda m: "EA" + "AG" + m.mixed(180),
    "HubSpot": lambda m: "pat-" + m.chance.choice(("na1", "eu1")) + "-" + m.uuid(),
    "Anthropic": lambda m: "sk-" + "ant-api03-" + m.mixed(93, SAFE) + "AA",
    "OpenAI": lambda m: "sk-" + m.mixed(20) + "T3Blbk" + "FJ" + m.mixed(20),
    "OpenAI project": lambda m: "sk-" + "proj-" + m.mixed(58, SAFE) + "T3Blbk" + "FJ" + m.mixed(58, SAFE),
    "Hugging Face": lambda m: "hf_" + m.mixed(34),
    "GitHub": lambda m: "ghp_" + m.mixed(36),
    "GitHub fine-grained": lambda m: "github" + "_pat_" + m.mixed(22) + "_" + m.mixed(59),
    "GitLab": lambda m: "glpat-" + m.mixed(20),
    "npm": lambda m: "npm_" + m.mixed(36),
    "PyPI": lambda m: "pypi-" + "AgEIcHlwaS5vcmc" + m.mixed(120, SAFE),
    "Slack": lambda m: "xoxb-" + m.text(DIGITS, 12) + "-" + m.text(DIGITS, 12) + "-" + m.mixed(24),
    "Slack webhook": lambda m: "https://hooks.slack.com/services/" + f"T{m.mixed(8)}/B{m.mixed(9)}/{m.mixed(24)}",
    "Stripe": lambda m: "sk_" + "live_" + m.mixed(24),
    "SendGrid": lambda m: "SG." + m.mixed(22, SAFE) + "." + m.mixed(43, SAFE),
    "Telegram": lambda m: m.text("123456789", 9) + ":AA" + m.mixed(33, SAFE),
    "AWS key id": lambda m: "AKIA" + m.text(UPPER + DIGITS, 16),
    "age": lambda m: "AGE-SECRET-" + "KEY-1" + m.text(BECH32, 58),
    "JWT": Maker.jwt,
    "PostgreSQL URL": lambda m: f"postgresql://orders:{m.mixed(16)}@db.internal:5432/orders",
    "AMQP URL": lambda m: f"amqps://worker:{m.mixed(14)}@queue.internal/jobs",
    "HTTP URL": lambda m: f"https://deploy:{m.mixed(20)}@packages.internal/simple",
}
"""Known by their form, wherever they stand."""

NAMED: dict[str, Callable[[Maker], str]] = {
    "password": Maker.password,
    "db_password": Maker.password,
    "client_secret": lambda m: m.mixed(32),
    "api_key": lambda m: m.mixed(40),
    "secret_key": lambda m: m.mixed(50),
    "access_token": lambda m: m.mixed(40),
}
"""Known by what they are called."""

ODD: dict[str, tuple[str, str, Callable[[Maker], str]]] = {
    "bearer in a command": (
        "a.sh",
        "curl -H 'Authorization: Bearer VALUE' https://api.internal/v1\n",
        lambda m: m.mixed(40),
    ),
    "query of a URL": ("b.py", 'URL = "https://api.internal/v1?region=eu&api_key=VALUE"\n', lambda m: m.mixed(32)),
    "subscript": ("c.py", 'os.environ["API_KEY"] = "VALUE"\n', lambda m: m.mixed(32)),
    "hexadecimal key": ("d.yaml", "api_key: VALUE\n", lambda m: m.text(HEX, 32)),
    "hexadecimal token": (".env", "TOKEN=VALUE\n", lambda m: m.text(HEX, 64)),
    "hexadecimal API token": (".env", "HOST=db.internal\nAPI_TOKEN=VALUE\n", lambda m: m.text(HEX, 64)),
    "exported hexadecimal token": (".env", "export ACCESS_TOKEN=VALUE\n", lambda m: m.text(HEX, 64)),
    "hexadecimal secret": (".env", "GATEWAY_SECRET=VALUE\n", lambda m: m.text(HEX, 64)),
    "key of a program": ("prod.env", "LAMA_GATEWAY_KEY=VALUE\n", lambda m: m.text(HEX, 64)),
    "hexadecimal token in YAML": ("d1.yaml", "server:\n  token: VALUE\n", lambda m: m.text(HEX, 64)),
    "hexadecimal token in Python": ("d2.py", 'AUTH_TOKEN="VALUE"\n', lambda m: m.text(HEX, 64)),
    "annotated hexadecimal token": ("d3.py", 'TOKEN: str = "VALUE"\n', lambda m: m.text(HEX, 40)),
    "hexadecimal default": ("d4.sh", 'run "${SHARED_SECRET:-VALUE}"\n', lambda m: m.text(HEX, 48)),
    "hexadecimal header": ("d5.sh", "curl -H 'X-API-Key: VALUE' https://api.internal\n", lambda m: m.text(HEX, 32)),
    "hexadecimal private key": ("d6.js", "const privateKey = '0xVALUE';\n", lambda m: m.text(HEX, 64)),
    "connection string": ("e.json", '{"db": "Server=db.internal;User Id=app;Password=VALUE;"}\n', Maker.password),
    "netrc": (".netrc", "machine api.internal login deploy password VALUE\n", Maker.password),
    "npmrc": (".npmrc", "//registry.internal/:_authToken=VALUE\n", lambda m: "npm_" + m.mixed(36)),
    "XML": ("f.xml", "<server><password>VALUE</password></server>\n", Maker.password),
    "argument": ("g.py", 'connect(host, user="app", password="VALUE")\n', Maker.password),
    "dictionary": ("h.py", "conf = {'user': 'app', 'passwd': 'VALUE'}\n", Maker.password),
    "comment": ("i.py", "# staging: password = 'VALUE'\n", Maker.password),
    "YAML list": ("j.yaml", "environment:\n  - DB_PASSWORD=VALUE\n  - DEBUG=1\n", Maker.password),
}
"""Known by name, in other ways of writing."""

SHAPES: dict[str, str] = {
    "src/a.py": '"""What it is."""\n\nimport os\n\n{name} = "{value}"\n',
    "conf/settings.yaml": "service:\n  host: db.internal\n  {name}: {value}\n",
    "conf/app.toml": '[service]\n{name} = "{value}"\n',
    "conf/app.json": '{{\n  "host": "db.internal",\n  "{name}": "{value}"\n}}\n',
    "conf/app.ini": "[service]\nhost = db.internal\n{name} = {value}\n",
    ".env": "HOST=db.internal\nexport {NAME}={value}\n",
    "deploy/run.sh": "#!/bin/sh\nset -eu\nexport {NAME}='{value}'\nexec server\n",
    "Dockerfile": "FROM python:3.11\nENV {NAME}={value}\nCMD server\n",
    "web/client.js": "const options = {{ host: 'db.internal', {name}: '{value}' }};\n",
    "web/Client.java": 'class Client {{\n  private static final String {name} = "{value}";\n}}\n',
    "NOTES.md": '# Notes\n\nSet it up with `{name}="{value}"` and go.\n',
    "lab/try.ipynb": '{{"cells": [{{"cell_type": "code", "source": ["{name} = \\"{value}\\"\\n"]}}]}}\n',
    "infra/main.tf": 'provider "x" {{\n  {name} = "{value}"\n}}\n',
}


def planted(seed: int, count: int = 1) -> list[Sample]:
    """Secrets of every kind in files of every shape: `count` of each kind known by form, all pairs known by name."""
    maker = Maker(seed)
    shapes = list(SHAPES.items())
    samples: list[Sample] = []
    for number in range(count):
        for at, (kind, make) in enumerate(SECRETS.items()):
            shape, text = shapes[(at + number * 5) % len(shapes)]
            value = make(maker)
            samples.append(_sample(len(samples), shape, text, "value", value, kind))
    for name, make in NAMED.items():
        for shape, text in shapes:
            samples.append(_sample(len(samples), shape, text, name, make(maker), f"{name} in {shape}"))
    for at, (kind, (name, text, make)) in enumerate(ODD.items()):
        value = make(maker)
        samples.append(Sample(f"planted/o{at}/{name}", text.replace("VALUE", value).encode(), kind, value))
    key = maker.pem("RSA " + "PRIVATE KEY")
    samples.append(Sample("planted/k1/server.key", f"{key}\n".encode(), "private key", key))
    other = maker.pem("OPENSSH " + "PRIVATE KEY", 300)
    one_line = json.dumps({"type": "service_account", "private_key": other + "\n"})
    samples.append(Sample("planted/k2/account.json", one_line.encode(), "private key in JSON", other))
    token = SECRETS["GitHub"](maker)
    wide = f"header\r\nvalue: {token}\r\n".encode("utf-16")
    samples.append(Sample("planted/k3/exported.txt", wide, "UTF-16", token))
    token = SECRETS["GitHub"](maker)
    line = ";".join(f"var a{i}=function(b){{return b+{i}}}" for i in range(3000))
    samples.append(Sample("planted/k4/bundle.min.js", f'{line};var t="{token}";{line}'.encode(), "long line", token))
    return samples


def _sample(number: int, shape: str, text: str, name: str, value: str, kind: str) -> Sample:
    content = text.format(name=name, NAME=name.upper(), value=value)
    return Sample(f"planted/f{number}/{shape}", content.encode(), kind, value)


def look_alikes(seed: int) -> list[Sample]:
    """Files that hold nothing that guards anything, however much it looks like it."""
    m = Maker(seed)
    sha, sha1 = hashlib.sha256(m.raw(8)).hexdigest(), hashlib.sha1(m.raw(8)).hexdigest()
    sri = "sha384-" + base64.b64encode(m.raw(48)).decode()
    image = base64.b64encode(m.raw(60_000)).decode()
    jwt_io = ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=")
        for part in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890","name":"John Doe","iat":1516239022}')
    )
    texts: dict[str, tuple[str, str]] = {
        "uuid": ("a.py", f'SPACE = "{m.uuid()}"\nrun_token = "{m.uuid()}"\n'),
        "sha256": ("b.py", f'DIGEST = "{sha}"\n'),
        "git sha": ("deploy.yaml", f"image_tag: {sha1}\nrevision: '{sha1}'\n"),
        "hashes by name": ("f.env", f"GIT_SHA={sha1}\nSHA256={sha}\nIMAGE_DIGEST={sha}\nCHECKSUM={sha}\nETAG={sha1}\n"),
        "hashes in YAML": ("g.yaml", f"commit: {sha1}\nsha256: {sha}\ndigest: {sha}\nchecksum: {sha}\netag: {sha1}\n"),
        "hashes of secrets": ("h.env", f"TOKEN_HASH={sha}\nSECRET_SHA256={sha}\nAPI_KEY_FINGERPRINT={sha1}\n"),
        "keys that are none": ("i.env", f"PUBLIC_KEY={sha}\nCACHE_KEY={sha1}\nIDEMPOTENCY_KEY={sha[:32]}\n"),
        "keys in code": ("j.py", f'public_key = "{sha}"\ncache_key = "{sha1}"\nidempotency_key = "{sha[:32]}"\n'),
        "identities of secrets": ("k.json", json.dumps({"token_id": sha[:32], "apiKeyId": sha1, "secretHash": sha})),
        "orderly digits": ("l.env", f"TOKEN={'deadbeef' * 8}\nSECRET={'0123456789abcdef' * 2}\nAPI_KEY={'0' * 64}\n"),
        "requirements hash": ("requirements.txt", f"alpha==1.0 --hash=sha256:{sha}\n"),
        "lock": ("uv.lock", f'hash = "sha256:{sha}"\n'),
        "npm lock": ("package-lock.json", json.dumps({"integrity": sri, "resolved": "https://r.example/a.tgz"})),
        "subresource integrity": ("index.html", f'<script src="a.js" integrity="{sri}" crossorigin></script>\n'),
        "angle placeholder": ("a.env", "PASSWORD=<password>\nAPI_KEY=<your-key>\nTOKEN=<token>\n"),
        "changeme": ("b.env", "PASSWORD=changeme\nDB_PASSWORD=change-me\nSECRET_KEY=CHANGE_ME_IN_PRODUCTION1\n"),
        "your key here": ("c.env", "API_KEY=YOUR_API_KEY_HERE\nGEMINI_API_KEY=your-gemini-key-1\n"),
        "variable": ("compose.yaml", "environment:\n  PASSWORD: ${PASSWORD:?set it}\n  API_KEY: $API_KEY\n"),
        "template": ("values.yaml", 'password: "{{ vault.password }}"\nsecret: {{ .Values.secret }}\n'),
        "github expression": ("ci.yml", "env:\n  password: ${{ secrets.PASSWORD }}\n  api_key: ${{ secrets.KEY }}\n"),
        "environment": ("c.py", "password = os.environ['PASSWORD']\nsecret = os.getenv('SECRET', '')\n"),
        "call": ("d.py", "password = getpass.getpass('Password: ')\nsecret = secrets.token_hex(32)\n"),
        "attribute": ("e.py", "api_key = settings.gemini_api_key.get_secret_value()\ntoken = request.headers['x']\n"),
        "field": ("f.py", 'password: str = Field(default="", description="The password of the user.")\n'),
        "documented AWS key": ("h.py", 'access_key = "AKIA' + 'IOSFODNN7EXAMPLE"\n'),
        "documented AWS secret": ("h.toml", 'secret_key = "wJalrXUtnFEMI/K7MDENG/' + 'bPxRfiCYEXAMPLEKEY"\n'),
        "documented token": ("i.py", f'bearer = "{jwt_io}.{m.part(32)}"\n'),
        "row of x": ("g.py", 'token = "ghp_' + "x" * 36 + '"\nletta = "sk-let-' + "x" * 40 + '"\n'),
        "row of dots": ("g.sh", "export API_KEY='sk-....................'\nexport PASSWORD='********'\n"),
        "example URL": ("j.py", 'URL = "postgresql://user:password@localhost:5432/app"\n'),
        "template URL": ("k.py", 'url = f"postgresql://{user}:{password}@{host}/{name}"\n'),
        "URL in prose": ("NOTES.md", "Use `https://user:token@example.com/simple`, or `redis://:password@host`.\n"),
        "public key": ("id.pub", "ssh-ed25519 " + base64.b64encode(m.raw(51)).decode() + " me@host\n"),
        "certificate": ("ca.pem", m.pem("CERTIFICATE") + "\n"),
        "public PEM": ("key.pem", m.pem("PUBLIC KEY", 300) + "\n"),
        "head of a key": ("l.py", 'if "-----BEGIN RSA ' + 'PRIVATE KEY-----" in text:\n    refuse()\n'),
        "colours": ("style.css", "a { color: #c0ffee; background: #deadbeef }\n"),
        "image": ("m.py", f'LOGO = "data:image/png;base64,{image}"\n'),
        "image in markdown": ("PICTURE.md", f"![logo](data:image/png;base64,{image})\n"),
        "translation": ("de.json", json.dumps({"password": "Passwort vergessen?", "secret": "Geheime Frage"})),
        "label": ("n.ts", "const passwordLabel = 'Enter your password';\nconst secret = 'Keep it secret';\n"),
        "header": ("o.py", 'api_key_header = "X-API-Key"\nauth_key = "Authorization"\n'),
        "name of a secret": ("pod.yaml", "secretName: web-tls\npassword_file: /run/secrets/db\nsecret: app-secret\n"),
        "schema": ("schema.json", json.dumps({"api_key": "API key of the service", "type": "string"})),
        "constant": ("p.py", 'class Kind:\n    password = "password"\n    secret = "secret"\nPASSWORD_LENGTH = 12\n'),
        "empty": ("q.toml", 'password = ""\napi_key = "none"\nsecret = "null"\n'),
        "comparison": ("r.py", 'if password == "":\n    raise ValueError("password must not be empty")\n'),
        "token endpoint": ("s.py", 'token_url = "https://auth.internal/oauth/v2/token"\n'),
        "resource name": ("t.tf", 'secret_arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db"\n'),
        "image digest": ("u.Dockerfile", f"FROM python@sha256:{sha}\n"),
        "version": ("v.toml", 'token-parser = "1.2.3"\nsecretstorage = ">=3.3"\n'),
        "type": ("w.go", 'type Login struct {\n\tPassword string `json:"password"`\n}\n'),
        "licence": ("LICENCE.txt", "THE APACHELICENSE APPLIES TO: APPENDIXOFALL\n"),
        "allowed": ("x.py", f'key = "ghp_{m.mixed(36)}"  # pragma: allowlist secret\n'),
        "keyboard": ("y.ts", "bind({ key: 'ArrowLeft', passwordKey: 'Backspace' });\n"),
        "code points": ("z.py", 'ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"\n'),
        "notebook": ("p.ipynb", json.dumps({"outputs": [{"data": {"image/png": image}}], "id": m.text(HEX, 8)})),
        "class name": ("aa.py", 'token = "AbstractSyntaxTree2NodeVisitorFactory"\n'),
        "message id": ("ab.json", json.dumps({"token": "auth.token.expired.v2.message", "password": "P4 panel"})),
        "bundle id": ("ac.xml", '<meta name="com.maps.API_KEY" value="@string/maps_api_key_v2"/>\n'),
        "annotation": ("ad.yaml", "type: kubernetes.io/service-account-token\nsecret: registry-credentials-2\n"),
        "policy": ("ae.yaml", "password_policy: min-8-chars-1-digit\npassword_expires: 90d\n"),
        "tokenizer class": ("af.json", json.dumps({"tokenizer_class": "PreTrainedTokenizerFast2", "pad_token": "[P]"})),
        "minified": ("ag.js", "var a={password:t.password1,secret:n(3),token:e.token2||r.defaultToken3};\n"),
        "path": ("ah.toml", 'secret_file = "/run/secrets/db-1"\nprivate_key = "~/.ssh/id_ed25519"\n'),
        "f-string": ("ai.py", 'header = f"Bearer {token}"\nsecret = f"{prefix}-{number:04}"\n'),
        "regular expression": ("aj.py", 'PASSWORD = re.compile(r"^(?=.*[0-9])(?=.*[A-Z]).{8,}$")\n'),
        "SQL": ("ak.sql", "ALTER ROLE app PASSWORD NULL;\nSELECT password FROM users WHERE id = 12;\n"),
        "test of length": ("al.ts", "if (password.length < 8) throw new Error('password: at least 8 characters');\n"),
        "docstring": ("am.py", '"""Gives `secret`, what it holds, `binary`, or `large`; a `Reason` otherwise."""\n'),
        "tokenizer": ("t.json", json.dumps({"pad_token": "<pad>", "bos_token": "<|begin_of_text|>", "unk": 0})),
        "LFS pointer": ("model.gguf", f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize 12345\n"),
    }
    return [
        Sample(f"alike/n{number}/{name}", text.encode(), kind)
        for number, (kind, (name, text)) in enumerate(texts.items())
    ]


def write(root: Path, samples: list[Sample]) -> None:
    """The samples as files below `root`."""
    for sample in samples:
        path = root / sample.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample.content)
