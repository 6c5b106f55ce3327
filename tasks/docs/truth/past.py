"""Words that tell that a text does not speak of how things are now: then it cannot become false by a change."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

_PAST = re.compile(
    r"""\b(?:
    removed | renamed | no\ longer | used\ to | formerly | previously | deprecat\w+ | superseded | obsolete | legacy
    | (?:was|were)\ (?:called|named|known|dropped|replaced|moved|part|in) | had\ been | has\ been\ (?:replaced|moved)
    | replaces | replaced\ by | instead\ of | in\ place\ of | rather\ than
    | dropped | gone | went\ away | moved\ (?:to|from|out|into) | until\ then | back\ then | at\ the\ time | once\ was
    | (?:old|older|earlier|previous|past|former)\ (?:name|names|version|versions|release|releases|code|spelling|api|
      signature|way|form|tutorials?|books?|scripts?|examples?|programs?)
    | (?:before|prior\ to|until|up\ to|below|earlier\ than|older\ than)\ (?:version\ |release\ |[A-Z][\w-]*\ |`\w+`\ )?
      v?\d+(?:\.[\dx]+)*(?!\s*(?:s|ms|seconds|minutes|hours|days|bytes|[kMG]i?B|%|times)\b)
    | (?:in|with|on|under|for)\ (?:version|release|[A-Z][\w-]*|`\w+`|[a-z-]+)\ v?\d+(?:\.[\dx]+)+
    | (?:in|with|on|under|for)\ (?:version|release|[A-Z][\w-]*|`\w+`)\ v?\d+
    | version(?:changed|added|removed|modified) | changed\ in
    )(?!\w)""",
    re.VERBOSE | re.IGNORECASE,
)
_NOT_NOW = re.compile(
    r"""\b(?:
    there\ (?:is|was|are|were)\ no | (?:does|do|did)(?:\ not|n't)\ (?:exist|offer|provide|define|belong|use)
    | not\ part\ of | not\ yet
    | planned | proposed | proposal | will\ (?:be|get|have|become) | would\ (?:be|have) | in\ (?:a\ |the\ )?future
    | imagine | hypothetical | suppose | fictional | made[\ -]up | of\ your\ own | your\ own | invented | your\ project
    | raises?\ an?\ (?:attribute|import)\ ?error | attributeerror | importerror | modulenotfounderror | typo | mistake
    | wrong | misspel\w+ | third[\ -]party | (?:other|another)\ (?:librar\w+|package\w*)
    )(?!\w)""",
    re.VERBOSE | re.IGNORECASE,
)
_MAKING = re.compile(
    r"""\b(?:creat(?:e|es|ing)|generat(?:e|es|ing)|sav(?:e|es|ing)|writ(?:e|es|ing)|scaffold\w*|mkdir
    | (?:a|an|the)\ new\ (?:file|folder|directory|module|script|package|test))\b
    (?!.*\b(?:by|with|using|via|runs?|running|see|from|like|in\ the\ style\ of)\b)""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_CODE = re.compile(r"`[^`]*`")
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


def speaks_of_the_past(sentence: str) -> bool:
    """Whether a sentence tells of what was, will be or is not, or of what belongs to others."""
    told = _CODE.sub("`x`", sentence)  # a name may be made of such words
    return _PAST.search(told) is not None or _NOT_NOW.search(told) is not None


def speaks_of_making(words: str) -> bool:
    """Whether the words before a path say that somebody makes it, so that it need not be there."""
    return _MAKING.search(_CODE.sub("`x`", words)) is not None


def is_history(file: PurePosixPath, heading: str = "") -> bool:
    """Whether a document (by its name), or a section (by its heading), is a history of changes."""
    stems = [part.partition(".")[0] for part in file.parts]
    if any(_FOLDERS.fullmatch(folder) for folder in file.parts[:-1]):
        return True
    return any(_FILES.match(stem) for stem in stems) or bool(heading and _HEADINGS.match(heading.strip()))
