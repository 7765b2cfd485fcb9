"""Findings: what is unwise in a library, by a rule with a name.

Knows the rules (infra/docs/library.md explains each with an example) and how a finding is said. Does not know how
any is found: `library_lint.py`, `vector_lint.py` and `picture_lint.py` do.
"""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Self

from pydantic import BaseModel, ConfigDict


class Severity(StrEnum):
    """How much a finding matters, most first."""

    ERROR = "error"  # scores are wrong, or the library does not load
    WARNING = "warning"  # very likely not what was meant
    NOTE = "note"  # worth a look


@dataclass(frozen=True, slots=True)
class Rule:
    """What may be found: how bad it is, why, and how to mend it."""

    id: str
    severity: Severity
    why: str
    fix: str


class Finding(BaseModel):
    """One thing found, at one line of one file."""

    model_config = ConfigDict(frozen=True)

    rule: str
    severity: Severity
    file: str
    line: int
    subject: str  # id of the label or concept; "" for the library
    what: str
    why: str
    fix: str

    @classmethod
    def of(cls, rule: str, file: str, line: int, subject: str, what: str) -> Self:
        """Say that a rule found something."""
        told = RULES[rule]
        return cls(
            rule=rule,
            severity=told.severity,
            file=file,
            line=line,
            subject=subject,
            what=what,
            why=told.why,
            fix=told.fix,
        )


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE

_TEXT = (
    Rule("broken", _E, "a library that does not hold together is not loaded", "mend the line"),
    Rule("too-long", _E, "the text tower reads only the beginning; the rest is cut off", "say it shorter"),
    Rule("placeholder", _E, "a template was not filled in; the encoder reads the braces", "write the words"),
    Rule(
        "negation",
        _W,
        "encoders of pictures and text do not understand negation: 'a street without guns' lies near guns",
        "say what is to be seen instead, or make the thing a counter-prompt",
    ),
    Rule(
        "shared-prompt",
        _W,
        "two concepts with one prompt score together: neither label can be told from the other by it",
        "keep it where it belongs, or merge the concepts",
    ),
    Rule(
        "background-prompt",
        _W,
        "the background counts against every concept: a prompt that is in it can never win clearly",
        "remove it from the background or from the concept",
    ),
    Rule(
        "family-quarrel",
        _W,
        "a child label's prompt is a counter-prompt of a label above it: the library says both yes and no",
        "remove it on one side",
    ),
    Rule(
        "few-counter-prompts",
        _W,
        "a score is a share against counter-prompts: without the things a label is mistaken for, they are flagged",
        "add the harmless things that look alike: toys, tools, medicine, news, art, sports",
    ),
    Rule(
        "language-gap",
        _W,
        "words that are missing in a language of this library leave that language weaker",
        "translate them, or drop the language everywhere",
    ),
    Rule(
        "untranslated",
        _W,
        "Latin letters only, in a language with a script of its own: mostly a phrase that was forgotten",
        "translate it, or leave it to the other language",
    ),
    Rule(
        "homonym",
        _W,
        "the word has another, harmless or harmful, meaning, and nothing in the phrase says which one is meant",
        "add a word that decides, such as those named",
    ),
    Rule(
        "orphan",
        _W,
        "its parent is not active, so no label above takes its score",
        "make the parent active, give it another parent, or retire it too",
    ),
    Rule(
        "unscored",
        _W,
        "it is active, but stands below a label that is not: it is never scored, and nobody is told",
        "give it the status of its label, or move it",
    ),
    Rule(
        "retired-words",
        _W,
        "a retired concept's prompt is in use by another concept: what was switched off is back",
        "make sure that this is meant, and remove it from the retired concept",
    ),
    Rule("retired-undated", _N, "nobody can tell since when it is not scored", "add its date"),
    Rule("draft-unowned", _W, "a draft without an owner stays a draft", "name the owner, or retire it"),
    Rule("no-description", _N, "reviewers and policy authors read it", "say in a line what the label covers"),
    Rule(
        "no-crosswalk",
        _N,
        "its results cannot be compared with, or exported to, any other taxonomy",
        "name its counterparts, or say in the description that there are none",
    ),
    Rule("unknown-crosswalk", _W, "the taxonomy has no such name: comparisons will miss the label", "mend the name"),
    Rule(
        "evidence-leak",
        _W,
        "a label's pictures may not be shown, but those of a label above it, which takes its score, may",
        "give the label above no_evidence, too",
    ),
    Rule("empty-category", _N, "a shelf without labels", "remove it"),
    Rule(
        "vanished",
        _W,
        "policies, golden sets and stored verdicts may still name it",
        "keep it, with status: retired and a date",
    ),
)
_VECTOR = (
    Rule("redundant-prompt", _N, "two prompts of a concept with the same vector weigh twice", "keep one of them"),
    Rule(
        "sibling-collision",
        _W,
        "to this encoder the two concepts are the same: their labels cannot be told apart",
        "say what tells them apart, or merge them",
    ),
    Rule(
        "near-counter",
        _W,
        "to this encoder the counter-prompt is the concept: what is looked for counts against itself",
        "choose another counter-prompt, or say the difference",
    ),
    Rule(
        "homonym-undecided",
        _W,
        "to this encoder the phrase lies as near to the other meaning of the word as to the one meant",
        "say the meaning in more words",
    ),
    Rule(
        "anchor-moved",
        _W,
        "the concept's vector is far from where it was in the older snapshot: its scores, and so its calibration and "
        "operating point, no longer hold",
        "calibrate the label again, or make it a new concept",
    ),
)
_PICTURE = (
    Rule(
        "exemplar-gone",
        _W,
        "a confirmed case that cannot be had checks nothing",
        "mend the uri, or take it out",
    ),
    Rule(
        "weak-on-exemplars",
        _W,
        "the concept's scores do not order its own confirmed cases before its counter-examples",
        "reword it, or add counter-prompts for what it is mistaken for",
    ),
    Rule(
        "weak-on-golden",
        _W,
        "the concept's scores do not order the golden set's pictures of its label before the others",
        "reword or retire it",
    ),
    Rule(
        "dead-prompt",
        _N,
        "no picture of the label is nearer to this prompt than to its concept's others: it only moves their mean",
        "remove it, or reword it",
    ),
)
RULES = MappingProxyType({rule.id: rule for rule in (*_TEXT, *_VECTOR, *_PICTURE)})
"""Every rule by its id."""


def order(finding: Finding) -> tuple[int, str, int, str]:
    """Sorts the worst first, then as the file is read."""
    return (list(Severity).index(finding.severity), finding.file, finding.line, finding.rule)
