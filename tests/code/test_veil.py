"""What sources show of values: no secret, and all that is none."""

from __future__ import annotations

import ast
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.code import Kind, Parameter, Symbol
from tasks.code.cut_source import completed
from tasks.code.secret_names import is_harmless, is_spoken
from tasks.code.veil import veiled_annotation, veiled_source
from tasks.docs.site.veil import veiled
from tasks.docs.truth.signature import Signature, changes

SECRET = """
API_KEY = os.environ.get("SHOP_KEY", "hunter2secret")
API_KEY = os.environ.get("SHOP_KEY") or b"hunter2secret"
API_KEY = os.getenv("SHOP_KEY", default="hunter2secret")
API_KEY = os.environ["SHOP_KEY"] if "SHOP_KEY" in os.environ else "hunter2secret"
API_KEY = os.environ.setdefault("SHOP_KEY", "hunter2secret")
SHOP = os.environ.get("SHOP_PASSWORD", "hunter2secret")
SHOP = os.getenv("DB_PASS", "hunter2secret")
SHOP = env("SECRET_KEY", default="hunter2secret")
SHOP = env.str("SECRET_KEY", "hunter2secret")
SHOP = config("SECRET_KEY", default="hunter2secret")
TOKEN = get("x") or "hunter2secret"
TOKEN = "hunter2secret" if testing else None
TOKEN = f(token=os.environ.get("T", "hunter2secret"))
SHOP = f(token=os.environ.get("T", "hunter2secret"))
SHOP = f(g(api_key="hunter2secret"))
SECRET_KEY = b"hunter2secret"
SECRET_KEY = rb"hunter2secret"
SECRET_KEY = "hunter2secret".encode()
SECRET_KEY = bytearray(b"hunter2secret")
SECRET_KEY = base64.b64decode("hunter2secret")
SECRET_KEY = {"key": SOME, "hunter2secret": 1}
SECRETS = ["hunter2secret", "hunter2secret"]
SECRETS = ("hunter2secret",)
SECRETS = {"hunter2secret"}
SECRETS = frozenset({"hunter2secret"})
SECRETS = {"db": {"inner": ["hunter2secret"]}}
SECRETS = [one + "hunter2secret" for one in others]
SECRETS = {one: "hunter2secret" for one in others}
SECRETS = [*others, "hunter2secret"]
password = "".join(["hunter2secret"])
password = "%s" % "hunter2secret"
password = "{}".format("hunter2secret")
password = f"hunter2secret"
password = f"{prefix}hunter2secret"
password = f"{'hunter2secret'}"
password = f"{x:hunter2secret}"
password = "a" + "hunter2secret" + "b"
password = "a" "hunter2secret"
password = ("hunter2secret")
password = lambda: "hunter2secret"
password = (yield "hunter2secret")
password = (stored := "hunter2secret")
password = known["hunter2secret"]
password = Field("hunter2secret")
password = Field(default="hunter2secret", alias="shop_password")
password = Field(default_factory=lambda: "hunter2secret")
password = Field(examples=["hunter2secret"])
password = Field(description="hunter2secret")
password = reversed("hunter2secret")
password = "\\x68unter2secret" "hunter2secret"
SHOP = Field("hunter2secret", validation_alias=AliasChoices("API_KEY", "key"))
SHOP = Field("hunter2secret", alias="private_key")
SHOP = typer.Option("hunter2secret", "--password")
SHOP = typer.Option("hunter2secret", envvar="SHOP_TOKEN")
SHOP = Option(default="hunter2secret", env="API_KEY")
SHOP = SecretStr("hunter2secret")
SHOP = Field(default=SecretStr("hunter2secret"))
SHOP = {"password": "hunter2secret"}
SHOP = {"password": b"hunter2secret"}
SHOP = {"password": ["hunter2secret"]}
SHOP = {b"password": "hunter2secret"}
SHOP = {"db": {"apiKey": "hunter2secret"}}
SHOP = {"X-Api-Key": "hunter2secret"}
SHOP = {"Authorization": "Bearer hunter2secret"}
SHOP = {"Cookie": "id=hunter2secret"}
SHOP = {"name": "DB_PASSWORD", "value": "hunter2secret"}
SHOP = {Keys.PASSWORD: "hunter2secret"}
SHOP = {keys["password"]: "hunter2secret"}
SHOP = dict(password="hunter2secret")
SHOP = dict([("password", "hunter2secret"), ("user", "admin")])
SHOP = [["token", "hunter2secret"]]
SHOP = EnvVar(name="DB_PASSWORD", value="hunter2secret")
SHOP = known.get("password", "hunter2secret")
SHOP = getattr(known, "password", "hunter2secret")
SHOP = [call(credentials=("admin", "hunter2secret"))]
SHOP = requests.get(url, auth=("admin", "hunter2secret"))
SHOP = HTTPBasicAuth("admin", "hunter2secret")
SHOP = lambda password="hunter2secret": password
SHOP = lambda *, private_key="hunter2secret": None
SHOP = password == "hunter2secret"
SHOP = request.headers["X-Token"] != "hunter2secret"
SHOP = (password := "hunter2secret")
SHOP = "password=hunter2secret"
SHOP = "password=" + "hunter2secret"
SHOP = f"password={'hunter2secret'}"
SHOP = f"password={user}" + f"&token={'hunter2secret'}"
SHOP = "password=%s" % "hunter2secret"
SHOP = "token: {}".format("hunter2secret")
SHOP = "postgres://admin:hunter2secret@db/x"
SHOP = f"postgres://{user}:hunter2secret@{host}/x"
SHOP = "postgres://admin:" + "hunter2secret@db/x"
SHOP = "\\n".join(["Bearer hunter2secret"])
private_key = "-----BEGIN RSA PRIVATE KEY-----\\nhunter2secret"
PRIVATE_KEY = "hunter2secret"
passphrase = "correct horse hunter2secret"
awsSecretAccessKey = "hunter2secret"
db_pwd = "hunter2secret"
SMTP_PASS = "hunter2secret"
credentials = ("admin", "hunter2secret")
clientCredentials = Credentials("admin", "hunter2secret")
token_type = "hunter2secret"
TOKEN_FILE = os.environ.get("TOKEN_FILE", "hunter2secret")
SECRETS = [  "hunter2secret",
password = call("hunter2secret
password = "hunter2secret
password = ] hunter2secret
SHOP = {"a": 1, "password": "hunter2secret
SHOP = {"a": 1, "password": b"hunter2secret", "z
"""


@pytest.mark.parametrize("line", SECRET.strip().splitlines())
def test_no_form_of_a_value_shows_what_its_name_calls_a_secret(line: str) -> None:
    name, _, source = line.partition(" = ")
    told = veiled_source(name, None, source)
    assert "hunter2" not in told
    assert "***" in told
    if completed(source)[0] is not None:
        ast.parse(told)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('API_KEY = os.environ.get("SHOP_KEY", "hunter2")', "os.environ.get('SHOP_KEY', '***')"),
        ('API_KEY = os.getenv("SHOP_KEY", default="hunter2")', "os.getenv('SHOP_KEY', default='***')"),
        ('API_KEY = os.environ["SHOP_KEY"]', 'os.environ["SHOP_KEY"]'),
        ('API_KEY = os.environ.get("SHOP_KEY", "")', 'os.environ.get("SHOP_KEY", "")'),
        ('SECRET_KEY = b"hunter2"', "b'***'"),
        (
            'token = Field("hunter2", alias="SHOP_TOKEN", description="The token of the shop")',
            "Field('***', alias='SHOP_TOKEN', description='The token of the shop')",
        ),
        ('LOGIN = {"user": "admin", "password": "hunter2"}', "{'user': 'admin', 'password': '***'}"),
        ('CREDENTIALS = {"user": "admin", "password": "hunter2"}', "{'user': '***', 'password': '***'}"),
        ('DATABASE = f"postgres://{user}:hunter2@{host}/x"', "f'postgres://***@{host}/x'"),
        ('x = typer.Option("hunter2", "--password")', "typer.Option('***', '--password')"),
        ("key = password + 'hunter2secret'[::-1]", "password + 'hunter2secret'[::-1]"),
    ],
)
def test_what_is_shown_is_readable_code(line: str, shown: str) -> None:
    name, _, source = line.partition(" = ")
    assert veiled_source(name, None, source) == shown


@pytest.mark.parametrize(
    "line",
    [
        'password = ""',
        'password = b""',
        "password = None",
        "password = ...",
        "token = 12345678",
        "password = 'changeme'",
        'password = "<your-api-key>"',
        'password = "${DB_PASSWORD}"',
        'password = "***"',
        "password = getpass()",
        "password = Literal['plain', 'hashed']",
        'tokenizer = "cl100k_base"',
        "tokenize = split('whatever it is')",
        'PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]',
        "special_tokens = ['[CLS]', '[SEP]']",
        "FIELDS = ('password', 'username')",
        "CHOICES = [('token', 'Token'), ('password', 'Your password')]",
        "x = {'password': str, 'token': None, 'user': 'somebody'}",
        "x = f(token=other.token, mode='readonly')",
        "x = call(include_secrets=True, mode='readonly')",
        "x = 'a sentence that speaks of a password'",
        "x = key.startswith('whatever')",
        "x = request.headers['X-Token']",
        "x = {'name': 'somebody', 'value': 'something'}",
    ],
)
def test_what_is_no_secret_stays_as_it_is(line: str) -> None:
    name, _, source = line.partition(" = ")
    assert veiled_source(name, None, source) == source


@pytest.mark.parametrize(
    ("name", "annotation", "shown"),
    [
        ("password", "Literal['plain', 'hashed']", None),
        ("password", "Annotated[str, Field(default='hunter2')]", "Annotated[str, Field(default='***')]"),
        ("password", "Annotated[str, 'hunter2secret'] | None", "Annotated[str, '***'] | None"),
        ("password", "Annotated[str, 'The word to get in']", None),
        ("user", "Annotated[str, Login(token='hunter2')]", "Annotated[str, Login(token='***')]"),
        ("user", "Annotated[str, Field(pattern='^[a-z]+$')]", None),
    ],
)
def test_annotations_give_nothing_away_and_types_stay(name: str, annotation: str, shown: str | None) -> None:
    assert veiled_annotation(name, annotation) == (shown or annotation)


def test_a_type_says_that_a_value_is_a_secret() -> None:
    assert veiled_source("pin", "SecretStr", "SecretStr('hunter2')") == "SecretStr('***')"
    assert veiled_source("pin", "Secret[int]", "Secret(4711)") == "Secret('***')"
    assert veiled_source("pin", "SecretStr | None", "None") == "None"


_PLACES = (
    "{}", "[{}]", "({}, 1)", "{{'k': {}}}", "{{{}: 1}}", "f({})", "f(x={})", "f(g(h={}))", "a or {}", "{} if a else b",
    "os.environ.get('NAME', {})", "os.getenv('NAME', default={})", "''.join([{}])", "'x' + {}", "{} + x", "not {}",
    "[{} for a in b]", "lambda: {}", "lambda a={}: a", "x[{}]", "{}.strip()", "a == {}", "f'{{{}}}'", "(a := {})",
    "{}[1:]", "-f(*{})", "f(**{{'a': {}}})", "Field(default={}, alias='shop')", "Annotated[str, {}]",
)  # fmt: skip
_NAMES = ("password", "API_KEY", "token", "client_secret", "dbCredentials", "PRIVATE_KEY", "auth_token", "userPasswd")
_LITERALS = st.one_of(
    st.text(min_size=6, max_size=30).filter(lambda text: sum(one.isalnum() for one in text) > 4),
    st.binary(min_size=6, max_size=30).filter(lambda data: sum(chr(one).isalnum() for one in data) > 4),
).filter(lambda value: len({*value}) > 4)


@given(
    st.sampled_from(_NAMES), _LITERALS, st.lists(st.sampled_from(_PLACES), min_size=1, max_size=3), st.integers(0, 3)
)
def test_no_text_under_the_name_of_a_secret_comes_through(
    name: str, literal: str | bytes, places: list[str], as_what: int
) -> None:
    text = literal if isinstance(literal, str) else literal.decode("latin-1")
    if is_spoken(text) or is_harmless(text):
        return  # `user`, `password`: keys that are shown
    source = repr(literal)
    for place in places:
        if "'" in source and place.startswith("f'"):
            continue  # no such nesting before Python 3.12
        source = place.format(source)
    try:
        ast.parse(source, mode="eval")
    except SyntaxError:
        return
    told = [
        lambda: veiled_source(name, None, source),
        lambda: veiled_source("shop", None, f"call({name}={source})"),
        lambda: veiled_source("shop", None, f"{{'{name}': {source}}}"),
        lambda: veiled_annotation(name, f"Annotated[str, Field({source})]"),
    ][as_what]()
    left = [one.value for one in ast.walk(ast.parse(told, mode="eval")) if isinstance(one, ast.Constant)]
    assert not any(one == literal or (isinstance(one, type(literal)) and literal in one) for one in left), told


@given(
    st.sampled_from(("shop", "x", "mode", "LIMITS")),
    st.from_regex(r"[a-z ]{0,20}", fullmatch=True),
    st.sampled_from(_PLACES),
)
def test_nothing_is_hidden_that_no_name_calls_a_secret(name: str, text: str, place: str) -> None:
    if "'" in place and place.startswith("f'"):
        return
    source = place.format(repr(text))
    assert veiled_source(name, None, source) == source


@given(st.sampled_from(("password", "shop")), st.text(max_size=60))
def test_any_text_can_be_asked_for(name: str, source: str) -> None:
    veiled_source(name, None, source)
    veiled_annotation(name, source)


@given(st.integers(0, 200))
def test_a_value_that_was_cut_off_shows_none_either(cut: int) -> None:
    source = "{'name': 'shop', 'n': [1, (2, 'b')], 'password': os.environ.get('PW', 'hunter2secret'), 'last': f('x')}"
    told = veiled_source("SETTINGS", None, source[:cut])
    assert "hunter" not in told
    assert cut < 16 or "'name': 'shop'" in told


def test_a_comment_in_a_value_shows_none() -> None:
    assert veiled_source("SECRETS", None, "[  # was hunter2secret\n    load(),\n]") == "[load()]"
    assert veiled_source("LIMITS", None, "[  # in m\n    'a',\n]") == "[  # in m\n    'a',\n]"


def test_deep_and_long_sources_are_answered() -> None:
    for source in (
        "-" * 990 + "'hunter2'",
        "(" * 900 + "'hunter2'",
        "a." * 400 + "b('hunter2')",
        "[" * 80 + "'hunter2'",
    ):
        assert "hunter2" not in veiled_source("password", None, source)


def test_every_part_of_a_symbol_is_veiled() -> None:
    symbol = Symbol(
        path="shop.run",
        kind=Kind.function,
        line=1,
        end_line=2,
        public=True,
        bases=("make(token='hunter2')",),
        returns="Annotated[str, Login(token='hunter2')]",
        decorators=("click.option",),
        decorator_arguments=((("", "'-p'"), ("", "'--password'"), ("default", "'hunter2'"), ("help", "'Get in.'")),),
        keywords=(("secret", "'hunter2'"),),
    )
    shown = veiled(symbol)
    assert "hunter2" not in json.dumps([shown.bases, shown.returns, shown.decorator_arguments, shown.keywords])
    assert shown.decorator_arguments == (
        (("", "'-p'"), ("", "'--password'"), ("default", "'***'"), ("help", "'Get in.'")),
    )


def test_a_report_of_drift_tells_no_secret() -> None:
    old = Signature((Parameter("token", "keyword-only", "str", "'hunter2'"), Parameter("n", "keyword-only", None, "1")))
    new = Signature((Parameter("token", "keyword-only", "str", "'hunter3'"), Parameter("n", "keyword-only", None, "2")))
    told = [one.told("connect") for one in changes(old, new)]
    assert told == ["default of `token` was `'***'` and is `'***'`", "default of `n` was `1` and is `2`"]
    assert old.shown("shop.connect") == "shop.connect(*, token: str = '***', n=1)"
    one, other = Signature(value="'hunter2'", callable=False), Signature(value="'hunter3'", callable=False)
    assert [change.told("API_KEY") for change in changes(one, other)] == ["it was `'***'` and is `'***'`"]
