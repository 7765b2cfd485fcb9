"""What is unwise in a library's words, as far as reading tells.

Knows the words and their lines. Loads no encoder (`vector_lint.py`) and sees no picture (`picture_lint.py`). What each
rule means is in `finding.py`, and with examples in infra/docs/library.md.
"""

import re
from collections.abc import Callable, Iterator

from assay.platform.document import did_you_mean
from assay.platform.finding import Finding
from assay.platform.homonyms import undecided
from assay.platform.library import SemanticLibrary, Status
from assay.platform.library_text import Kind, LibraryText
from assay.platform.phrases import ENGLISH, Phrases, is_untranslated, sameness
from assay.platform.taxonomies import TAXONOMIES
from assay.platform.tokens import RoughTokens, TokenCounter

MIN_COUNTER_PROMPTS = 3
"""English counter-prompts that a label with concepts needs: with fewer, whatever looks like the thing is flagged."""

_NEGATION = {
    "en": re.compile(r"\b(no|not|without|never|neither|nor|none)\b|n['\u2019]t\b", re.IGNORECASE),
    "zh": re.compile(r"没|不|无|未"),
}
_NAMES_THAT_NEGATE = {
    "en": re.compile(r"\bno (entry|smoking|parking|littering|pedestrians)\b|teacup without handle", re.IGNORECASE),
    "zh": re.compile(r"不锈钢|不倒翁|无穷|无人机|无线|无花果|无轨|未来|淹没|沉没|没收"),
}
"""Words that negate inside the name of something that can be seen: a no entry sign, stainless steel, a drone."""
_PLACEHOLDER = re.compile(r"\{[^}]*\}|<[^>]*>|%s")


def lint_words(text: LibraryText, tokens: TokenCounter | None = None) -> Iterator[Finding]:
    """Everything that reading finds, in no order. `tokens`: the encoder's count, if there is one."""
    rules: list[Callable[[LibraryText], Iterator[Finding]]] = [
        *(_negations, _placeholders, _untranslated, _homonyms),
        *(_shared_prompts, _background_prompts, _family_quarrels, _retired_words),
        *(_few_counter_prompts, _language_gaps, _orphans, _unscored, _drafts_and_retired),
        *(_descriptions, _crosswalks, _evidence_leaks, _empty_categories),
    ]
    for rule in rules:
        yield from rule(text)
    yield from _too_long(text, tokens or RoughTokens())


def lint_against(text: LibraryText, older: SemanticLibrary) -> Iterator[Finding]:
    """What went from a library since an older snapshot without being retired."""
    labels = {key: "label" for shelf in older.categories.values() for key in shelf.labels}
    concepts = {
        key: "concept"
        for shelf in older.categories.values()
        for label in shelf.labels.values()
        for key in label.concepts
    }
    for subject, kind in (labels | concepts).items():
        if subject not in (text.labels if kind == "label" else text.concepts):
            yield text.finding("vanished", "", f"{kind} {subject!r} of the older snapshot is gone", 1)


def _too_long(text: LibraryText, tokens: TokenCounter) -> Iterator[Finding]:
    counts = tokens.count_tokens([row.text for row in text.wordings])
    for row, count in zip(text.wordings, counts, strict=True):
        if count > tokens.context_length:
            what = f"{row.kind} {_short(row.text)} has {count} tokens; {tokens.context_length} are read"
            yield text.finding("too-long", row.owner, what, row.line)


def _negations(text: LibraryText) -> Iterator[Finding]:
    for row in text.wordings:
        language = row.language.split("-")[0]
        if language not in _NEGATION:
            continue
        if found := _NEGATION[language].search(_NAMES_THAT_NEGATE[language].sub("", row.text)):
            yield text.finding("negation", row.owner, f"{row.kind} {row.text!r} says {found.group()!r}", row.line)


def _placeholders(text: LibraryText) -> Iterator[Finding]:
    for row in text.wordings:
        if found := _PLACEHOLDER.search(row.text):
            what = f"{row.kind} {row.text!r} has the placeholder {found.group()!r}"
            yield text.finding("placeholder", row.owner, what, row.line)


def _untranslated(text: LibraryText) -> Iterator[Finding]:
    for row in text.wordings:
        if is_untranslated(row.language, row.text):
            what = f"{row.kind} {row.text!r} is tagged {row.language!r} and has Latin letters only"
            yield text.finding("untranslated", row.owner, what, row.line)


def _homonyms(text: LibraryText) -> Iterator[Finding]:
    for row in text.wordings:
        for one in undecided(row.language, row.text) if row.kind is not Kind.BACKGROUND else ():
            first, second = one.senses
            what = f"{row.kind} {row.text!r}: {one.word!r} may mean {first.phrase!r} or {second.phrase!r}"
            yield text.finding("homonym", row.owner, what, row.line)


def _shared_prompts(text: LibraryText) -> Iterator[Finding]:
    first: dict[tuple[str, str], str] = {}
    for row in text.wordings:
        if row.kind is Kind.PROMPT:
            owner = first.setdefault((row.language, sameness(row.text)), row.owner)
            if owner != row.owner:
                what = f"{row.text!r} is a prompt of concepts {owner!r} and {row.owner!r}"
                yield text.finding("shared-prompt", row.owner, what, row.line)


def _background_prompts(text: LibraryText) -> Iterator[Finding]:
    background = _words(text.library.background)
    for row in text.wordings:
        if row.kind is Kind.PROMPT and sameness(row.text) in background:
            what = f"{row.text!r} is a prompt of concept {row.owner!r} and a background phrase"
            yield text.finding("background-prompt", row.owner, what, row.line)


def _family_quarrels(text: LibraryText) -> Iterator[Finding]:
    for row in text.wordings:
        for above, label in text.above(row.label) if row.kind is Kind.PROMPT else ():
            if sameness(row.text) in _words(label.counter_prompts):
                what = f"{row.text!r} is a prompt of concept {row.owner!r} and a counter-prompt of {above!r} above it"
                yield text.finding("family-quarrel", row.owner, what, row.line)


def _retired_words(text: LibraryText) -> Iterator[Finding]:
    retired: dict[str, str] = {}
    for concept, (label, body) in text.concepts.items():
        if Status.RETIRED in (body.status, text.labels[label].status):
            retired.update(dict.fromkeys(_words(body.prompts), concept))
    for row in text.wordings:
        before = retired.get(sameness(row.text))
        if row.kind is Kind.PROMPT and before is not None:
            what = f"{row.text!r} is a prompt of concept {row.owner!r} and of the retired concept {before!r}"
            yield text.finding("retired-words", row.owner, what, row.line)


def _few_counter_prompts(text: LibraryText) -> Iterator[Finding]:
    for key, label in text.library.labels.items():
        count = len(label.counter_prompts.get(ENGLISH, ()))
        if any(one.status is Status.ACTIVE for one in label.concepts.values()) and count < MIN_COUNTER_PROMPTS:
            what = f"label {key!r} has {count} counter-prompts in English; at least {MIN_COUNTER_PROMPTS} are needed"
            yield text.finding("few-counter-prompts", key, what, text.line(key, "counter_prompts"))


def _language_gaps(text: LibraryText) -> Iterator[Finding]:
    parts: dict[tuple[str, str], Phrases] = {("", "background"): text.library.background}
    parts |= {(key, "prompts"): concept.prompts for key, (_, concept) in text.library.concepts.items()}
    parts |= {
        (key, "counter_prompts"): label.counter_prompts
        for key, label in text.library.labels.items()
        if label.counter_prompts
    }
    spoken = {language for phrases in parts.values() for language in phrases}
    for (subject, field), phrases in parts.items():
        if missing := sorted(spoken - set(phrases)):
            whose = f"{field} of {subject!r}" if subject else f"the {field}"
            what = f"{whose} lack {', '.join(missing)}, which the library speaks elsewhere"
            yield text.finding("language-gap", subject, what, text.line(subject, field))


def _orphans(text: LibraryText) -> Iterator[Finding]:
    for key, label in text.library.labels.items():
        if label.parent is not None and (status := text.labels[label.parent].status) is not Status.ACTIVE:
            what = f"label {key!r} is active and its parent {label.parent!r} is {status}"
            yield text.finding("orphan", key, what, text.line(key, "parent"))


def _unscored(text: LibraryText) -> Iterator[Finding]:
    for key, (owner, concept) in text.concepts.items():
        # `active` is also what is not said, so only what somebody wrote is a contradiction.
        is_said = (*text.places[key], "status") in text.document.lines
        if is_said and concept.status is Status.ACTIVE and owner not in text.library.labels:
            what = f"concept {key!r} is active and its label {owner!r} is {text.labels[owner].status}"
            yield text.finding("unscored", key, what, text.line(key, "status"))


def _drafts_and_retired(text: LibraryText) -> Iterator[Finding]:
    rows = [(key, "label", label.status, label.owner, label.date) for key, label in text.labels.items()]
    rows += [
        (key, "concept", one.status, one.owner or text.labels[owner].owner, one.date)
        for key, (owner, one) in text.concepts.items()
    ]
    for key, kind, status, owner, date in rows:
        if status is Status.DRAFT and not owner:
            yield text.finding("draft-unowned", key, f"{kind} {key!r} is a draft and has no owner")
        if status is Status.RETIRED and date is None:
            yield text.finding("retired-undated", key, f"{kind} {key!r} is retired and has no date")


def _descriptions(text: LibraryText) -> Iterator[Finding]:
    for key, label in text.labels.items():
        if not label.description.strip():
            yield text.finding("no-description", key, f"label {key!r} has no description")


def _crosswalks(text: LibraryText) -> Iterator[Finding]:
    for key, label in text.labels.items():
        names = [(taxonomy, name) for taxonomy, some in label.crosswalk for name in some]
        if not names and "no other taxonomy" not in label.description.casefold():
            yield text.finding("no-crosswalk", key, f"label {key!r} has no counterpart in any other taxonomy")
        for taxonomy, name in names:
            if name not in TAXONOMIES[taxonomy]:
                near = did_you_mean(name, TAXONOMIES[taxonomy])
                line = text.line(key, "crosswalk", taxonomy)
                yield text.finding("unknown-crosswalk", key, f"{taxonomy} has no {name!r}{near}", line)


def _evidence_leaks(text: LibraryText) -> Iterator[Finding]:
    for key, label in text.library.labels.items():
        shown = [above for above, one in text.above(key) if above in text.library.labels and not one.no_evidence]
        if label.no_evidence and shown:
            what = f"label {key!r} has no_evidence, and label {shown[0]!r} above it has not"
            yield text.finding("evidence-leak", key, what, text.line(key, "no_evidence"))


def _empty_categories(text: LibraryText) -> Iterator[Finding]:
    for key, shelf in text.library.categories.items():
        if not shelf.labels:
            yield text.finding("empty-category", key, f"category {key!r} has no labels")


def _words(phrases: Phrases) -> set[str]:
    return {sameness(text) for some in phrases.values() for text in some}


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")
