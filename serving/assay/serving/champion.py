"""A release on duty: loaded, warm, and shown to work before the first request is bound to it.

Knows how a pinned release becomes something that judges, and what it can take over from the one before. Does not know
when releases change (`watcher.py`), nor batches (`judging.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from assay.platform.budget import Budget
from assay.platform.errors import ReleaseError
from assay.platform.guard import Guard
from assay.platform.moderator import Moderator
from assay.platform.release import Release
from assay.registry.place import RegistrySpec
from assay.registry.resolving import resolve
from assay.serving.orders import Pin
from assay.serving.problem import Code, Problem

EncoderKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """What is told of a label that is scored."""

    label: str
    category: str
    description: str
    parent: str | None
    evidence: bool
    """Whether evidence of it is shown."""
    calibrated: bool
    """Whether its score is a probability."""


@dataclass(frozen=True)
class Machine:
    """What a replica has to judge with."""

    registry: RegistrySpec
    device: str
    budget: Budget
    decoders: int


@dataclass(frozen=True, eq=False)
class Champion:
    """A release that answers. Never changes; requests hold on to the one they were admitted under."""

    pin: Pin
    release: Release
    guard: Guard
    moderators: Mapping[str, Moderator]
    labels: tuple[LabelFacts, ...]

    @classmethod
    def load(cls, pin: Pin, machine: Machine, before: "Champion | None" = None) -> Self:
        """Load a release, with the encoder and the decoders of the one before where they are the same.

        Raises:
            AssayError: it cannot be loaded, or is not what was pinned.
        """
        release = fetch_pinned(pin, machine.registry)
        shared = before.moderator(None).encoder if before and before.encoder_key == encoder_key(release) else None
        first = Moderator(release, device=machine.device, encoder=shared)
        first.warm_up()
        same_decode = before is not None and before.release.preprocess == release.preprocess
        guard = before.guard if before and same_decode else new_guard(release, machine)
        names = release.manifest.policies
        moderators = {name: first if name == first.policy.name else first.under(name) for name in names}
        return cls(pin, release, guard, moderators, label_facts(release, first.labels))

    @property
    def encoder_key(self) -> EncoderKey:
        """What must be the same for embeddings to be the same."""
        return encoder_key(self.release)

    @cached_property
    def silent(self) -> frozenset[str]:
        """Labels of which no evidence is shown."""
        return frozenset(one.label for one in self.labels if not one.evidence)

    def moderator(self, policy: str | None) -> Moderator:
        """Who judges under a policy, or the release's default.

        Raises:
            Problem: the release has no such policy.
        """
        name = policy or self.release.manifest.default_policy
        if name not in self.moderators:
            known = ", ".join(self.moderators)
            what = f"release {self.release.id} has no policy {name!r}"
            raise Problem(Code.UNKNOWN_POLICY, what, where="policy", why=f"it has {known}", fix="name one of these")
        return self.moderators[name]


def label_facts(release: Release, scored: Sequence[str]) -> tuple[LabelFacts, ...]:
    """What is told of each label that is scored, in their order."""
    library, calibrated = release.library(), release.calibration().labels
    shelves = {name: shelf for shelf, category in library.categories.items() for name in category.labels}
    return tuple(
        LabelFacts(
            label=name,
            category=shelves[name],
            description=library.labels[name].description,
            parent=library.labels[name].parent,
            evidence=not library.labels[name].no_evidence,
            calibrated=name in calibrated,
        )
        for name in scored
    )


def fetch_pinned(pin: Pin, registry: RegistrySpec) -> Release:
    """The release that was pinned.

    Raises:
        AssayError: it is not there, or not what was pinned.
    """
    release = resolve(pin.ref, registry).release
    if release.digest != pin.digest:
        why = f"pinned {pin.digest[:12]}, found {release.digest[:12]}"
        fix = "a release directory must not change under a service: build another one, and serve that"
        raise ReleaseError("the release is not the one that was pinned", where=pin.ref, why=why, fix=fix)
    return release


def new_guard(release: Release, machine: Machine) -> Guard:
    """Decoders for a release's encoder."""
    return Guard(release.preprocess, machine.budget, machine.decoders)


def encoder_key(release: Release) -> EncoderKey:
    """What must be the same for embeddings to be the same."""
    pinned = release.manifest.encoder
    return pinned.digest, pinned.precision, release.preprocess.model_dump_json()
