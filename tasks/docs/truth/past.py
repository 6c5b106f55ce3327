"""Words that tell that a text does not speak of how things are now: then it cannot become false by a change."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_ENDED = r"(?:removed|renamed|deleted|dropped|replaced|moved|discontinued|retired)"
_NO = r"(?:do|does|did)(?:\ not|n't)"
_DEPRECATED_HOW = "in|since|and|by|as|from|with|for|now|but|or|alias|names?|spelling"
_PAST = re.compile(
    rf"""\b(?:
    no\ longer | used\ to | formerly | previously | superseded | obsolete | legacy
    | (?:was|were)\ (?:called|named|known|part|in) | had\ been
    | deprecates | deprecations? | deprecated(?!\ (?!(?:{_DEPRECATED_HOW})\b)\w)
    | went\ away | until\ then | back\ then | at\ the\ time | once\ was
    | (?:old|older|earlier|previous|past|former)\ (?:name|names|version|versions|release|releases|code|spelling|api|
      signature|way|form|tutorials?|books?|scripts?|examples?|programs?)
    | (?:before|prior\ to|until|up\ to|below|earlier\ than|older\ than)\ (?:version\ |release\ |[A-Z][\w-]*\ |`\w+`\ )?
      v?\d+(?:\.[\dx]+)*(?!\s*(?:s|ms|seconds|minutes|hours|days|bytes|[kMG]i?B|%|times)\b)
    | (?:in|with|on|under|for)\ (?:version|release|[A-Z][\w-]*|`\w+`|[a-z-]+)\ v?\d+(?:\.[\dx]+)+
    | (?:in|with|on|under|for)\ (?:version|release|[A-Z][\w-]*|`\w+`)\ v?\d+
    | version(?:changed|added|removed|modified) | changed\ in | {_ENDED}\ (?:in\ favou?r|since|as\ of)
    )(?!\w)""",
    re.VERBOSE | re.IGNORECASE,
)
_NOT_NOW = re.compile(
    rf"""\b(?:
    not\ part\ of | planned | proposed | proposal | in\ (?:a\ |the\ )?future
    | not\ yet\ (?:an?\ )?(?:there|available|implemented|supported|released|merged|written|built|possible|exist\w*)
    | will\ (?:soon\ |then\ |later\ )?be\ (?:{_ENDED}|added|available|introduced|deprecated|supported|released|gone|
      called|named|possible|part|built|written)
    | will\ (?:soon\ |then\ |later\ )?(?:get|gain|have)\ (?:(?:an?|its|the|own|new)\ )*(?:option|parameter|argument|
      method|function|class|module|command|setting|`.`)
    | would\ be\ (?:called|named|nice|added|available|possible) | would\ have\ been
    | imagine | hypothetical | suppose | fictional | made[\ -]up(?!\ of) | invented
    )(?!\w)""",
    re.VERBOSE | re.IGNORECASE,
)
_UNLESS_ASKED = re.compile(
    rf"""\b(?:
    (?:was|were|been|got)\ (?:\w+\ )?{_ENDED} | (?:is|are)\ gone | gone\ (?:now|since|for\ good)
    | there\ (?:is|was|are|were)\ no\ (?!(?:need|reason|point|harm|limit|difference|guarantee|way|doubt)\b)
    | {_NO}\ (?:exist|offer|provide|define|belong)
    | raises?\ an?\ (?:attribute|import)\ ?error | attributeerror | importerror | modulenotfounderror
    )(?!\w)""",
    re.VERBOSE | re.IGNORECASE,
)
"""Says of something that it is not, but for where that is a condition: 'if it is gone, call ...'."""
_CONDITION = re.compile(
    r"\b(?:if|when|whenever|once|unless|after|where|while|in case|as soon as|as long as)\b[^,;:.`]*$", re.IGNORECASE
)
_CONDITION_BEHIND = re.compile(r"^[^;:.]*?\b(?:if|when|whenever|unless|where|until)\b", re.IGNORECASE)
_OF_IT = re.compile(
    rf"""
    \b(?:instead\ of|in\ place\ of|rather\ than|replaces|supersedes)\ (?:(?:the|an?|plain|bare|old|\w+ing)\ ){{0,2}}`@`
    | `@`[^`,;.]{{0,30}}\ (?:is|are|has\ been|have\ been)\ (?:now\ |all\ )?(?:{_ENDED}|gone)\b
    | `@`[^`,;.]{{0,30}}\ deprecated\b | \bdeprecated\ (?:[\w-]+\ ){{1,3}}`@`(?<!\bis\ `@`)
    | \byour\ (?:own|project)\b(?:[^`,;.]|,\ (?:say|such\ as|for\ example|like|perhaps|maybe)\b){{0,30}}`@`
    | \bof\ your\ own,?\ (?:say|such\ as|for\ example|like|called|named)\ `@`
    | `@`\ (?:is|are|being|stands\ for)\ [^`,;.]{{0,30}}\byour\ (?:own|project)\b
    | `@`\ (?:is|are|was|were)\ (?:an?\ |the\ )?(?:\w+\ )?(?:typo|mistake|wrong|misspel\w+)
    | \b(?:the|an?)\ (?:common\ )?(?:typo|mistake|misspel\w+|wrong\ (?:name|spelling|word))[,:]?\ (?:is\ )?`@`
    | \bmisspel\w+\ (?:as\ )?`@`
    | \b(?:third[\ -]party|other\ (?:librar|package)\w*|another\ (?:librar|package)\w*)\b[^`;.]{{0,30}}`@`
    | `@`\ (?:is|are|comes?|belongs?|of|from|in)\b[^`,;.]{{0,30}}
      \b(?:third[\ -]party|(?:other|another)\ (?:librar|package))
    | \b{_NO}\ use\ `@`
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Says of the thing itself, which stands as `@`, that it is not, is not any more, or is somebody else's."""
_OF_WHAT_FOLLOWS = re.compile(
    rf"""(?:^|[.;]\ ){_ENDED}\b
    | \b(?:{_ENDED}|deprecated|gone|instead\ of|in\ place\ of|rather\ than|your\ own|your\ project|wrong|mistakes?|
      typos?)\b[^`,;.]{{0,40}}:\s*$
    | \b(?:third[\ -]party|(?:other|another)\ (?:librar\w+|package\w*))\b[^`;.]*:\s*$""",
    re.VERBOSE | re.IGNORECASE,
)
"""Says it of what is listed or shown below, or of all that a sentence names."""
_SERVES = re.compile(
    r"\b(is|are|be|being|been|was|were|can|may|often|usually|mostly|mainly|commonly|typically|only|also|generally|internally"
    r"|and|or)\ used\ to\b",
    re.IGNORECASE,
)
_MAKING = re.compile(
    r"""\b(?:creat(?:e|es|ing)|generat(?:e|es|ing)|sav(?:e|es|ing)|writ(?:e|es|ing)|scaffold\w*|mkdir
    | (?:a|an|the)\ new\ (?:file|folder|directory|module|script|package|test))\b
    (?!.*\b(?:by|with|using|via|runs?|running|see|from|like|in\ the\ style\ of)\b)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_CODE = re.compile(r"`[^`]*`")
_ROLE = re.compile(r":[a-z:]+:`[~!]?")
_FILES = re.compile(
    r"^(?:change[-_ ]?s?(?:log)?s?|history|news|release[-_ ]?notes?|releases?|whats[-_ ]?new|upgrad\w*|migrat\w*|"
    r"porting|deprecations?|roadmap|proposals?|rfcs?|adrs?|decisions|design[-_ ]history|archive|"
    r"\d{4}-\d{2}-\d{2}\b.*)$",
    re.IGNORECASE,
)
_FOLDERS = re.compile(r"_?posts|blogs?|newsletters?", re.IGNORECASE)
"""Of what was written on a day, and is not brought up to date."""
_HEADINGS = re.compile(
    r"^(?:change[ -]?s?(?:log)?|history|news|release notes?|releases|what.?s new\b.*|upgrad\w+\b.*|migrat\w+\b.*|"
    r"porting\b.*|deprecat\w+\b.*|breaking changes?\b.*|removed\b.*|removals\b.*|roadmap|compatibility with\b.*|"
    r"[\[(]?(?:version |release )?v?\d+\.\d+(?:\.\w+)*[\])]?(?:\s*[-\u2013\u2014(:].*)?|unreleased|"
    r".*\b(?:before|until|prior to|older than) (?:version )?v?\d+(?:\.\d+)*\b.*)$",
    re.IGNORECASE,
)


def speaks_of_the_past(sentence: str, name: str = "") -> bool:
    """Whether a sentence says of what it names that it was, will be or is not, or that it belongs to others.

    Args:
        sentence: Markdown, or a docstring's markup.
        name: what it is asked for: code of the sentence; empty: what is shown below it.
    """
    marked = _ROLE.sub("`", sentence).replace("``", "`")
    if name:
        marked = marked.replace(f"`{name}`", "`@`")
    told = _CODE.sub(lambda code: code[0] if code[0] == "`@`" else "`x`", marked)  # a name may be made of such words
    told = _SERVES.sub(r"\1 serving to", " ".join(told.split()))
    if _PAST.search(told) or _NOT_NOW.search(told) or _OF_WHAT_FOLLOWS.search(told):
        return True
    if name and _OF_IT.search(told):
        return True
    return any(
        not _CONDITION.search(told[: found.start()]) and not _is_conditioned(found[0], told[found.end() :])
        for found in _UNLESS_ASKED.finditer(told)
    )


def _is_conditioned(words: str, behind: str) -> bool:
    """Whether an error is raised under a condition only, so that what raises it is there."""
    return "error" in words.lower() and _CONDITION_BEHIND.search(behind) is not None


def speaks_of_making(words: str) -> bool:
    """Whether the words before a path say that somebody makes it, so that it need not be there."""
    return _MAKING.search(_CODE.sub("`x`", words)) is not None


def is_history(file: PurePosixPath, heading: str = "") -> bool:
    """Whether a document (by its name), or a section (by its heading), is a history of changes."""
    stems = [part.partition(".")[0] for part in file.parts]
    if any(_FOLDERS.fullmatch(folder) for folder in file.parts[:-1]):
        return True
    return any(_FILES.match(stem) for stem in stems) or bool(heading and _HEADINGS.match(heading.strip()))
