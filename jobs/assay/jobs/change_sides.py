"""Which sides are compared: two releases of one encoder, the policies they share, and whether each judged everything.

Knows what users name and what a store holds. Reads no verdict.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from assay.jobs.binding import Binding, check_binding
from assay.jobs.change_data import Half
from assay.jobs.judged import judged_by, policies_of
from assay.jobs.side import Side
from assay.jobs.store import Store
from assay.platform.errors import SpecError
from assay.platform.release import Release

NAMES: tuple[Literal["from", "to"], ...] = ("from", "to")


@dataclass(frozen=True)
class Sides:
    """What is compared: pairs of sides, one for each policy."""

    releases: tuple[Release, Release]
    pairs: tuple[tuple[Side, Side], ...]
    not_compared: tuple[str, ...]
    """Policies that one of them did not judge under, and which."""
    observed: int
    """Images that the store has looked at."""
    half: tuple[Half, ...]

    @classmethod
    def of(cls, store: Store, releases: tuple[Release, Release], policies: tuple[str | None, str | None]) -> "Sides":
        """The sides: releases, and policies that a user names (None: each that both judged under).

        Raises:
            SpecError: there is no such policy, or they share none.
            StoreVersionError: a release is of another encoder than the store.
        """
        for release in releases:
            _refuse_other_encoder(store, release)
        one, other = releases
        named, not_compared = _paired_policies(store, releases, policies)
        pairs = tuple(
            (Side.of(store, judged_by(store, one, before)), Side.of(store, judged_by(store, other, after)))
            for before, after in named
        )
        observed = store.observations.table().num_rows()
        half = tuple(_halves(store, pairs, observed))
        return cls(releases, pairs, not_compared, observed, half)

    def refuse_half(self, where: str) -> None:
        """Stop when a side has not judged all that was observed.

        Raises:
            SpecError: with the commands that judge the rest.
        """
        if not self.half:
            return
        told = [
            f"--{one.side} {one.release}, policy {one.policy}: {one.judged:,} of {one.observed:,} images"
            for one in self.half
        ]
        commands = "; ".join(dict.fromkeys(one.finish for one in self.half))
        raise SpecError(
            "a side has not judged every image",
            where=where,
            why="\n       ".join(told),
            fix=f"finish it: {commands}; or compare what both have judged: --partial",
        )


def _refuse_other_encoder(store: Store, release: Release) -> None:
    pinned = release.manifest.encoder
    wanted = Binding(encoder=pinned.digest, dim=pinned.dim, preprocess=release.preprocess.model_dump(mode="json"))
    check_binding(store, wanted)


def _paired_policies(
    store: Store, releases: tuple[Release, Release], wanted: tuple[str | None, str | None]
) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """The policies to compare, and those that one side does not have. Whether the named ones judged is asked later."""
    before, after = wanted
    if before is not None:
        return [(before, after or before)], ()
    one, other = (policies_of(store, release.id) for release in releases)
    for release, found in zip(releases, (one, other), strict=True):
        if not found:
            judged_by(store, release)  # says so, and what to do
    if after is not None:
        why = f"--from judged under {', '.join(one)}"
        raise SpecError("--to-policy needs --policy", where=store.shown, why=why, fix="name the policy of --from, too")
    both = [name for name in one if name in other]
    if not both:
        why = f"--from judged under {', '.join(one)}; --to under {', '.join(other)}"
        fix = "name them: --policy for --from, --to-policy for --to"
        raise SpecError("the releases judged under no policy of the same name", where=store.shown, why=why, fix=fix)
    alone = [(name, NAMES[0]) for name in one if name not in both] + [
        (name, NAMES[1]) for name in other if name not in both
    ]
    return [(name, name) for name in both], tuple(f"{name} (only --{side})" for name, side in alone)


def _halves(store: Store, pairs: tuple[tuple[Side, Side], ...], observed: int) -> Iterator[Half]:
    for pair in pairs:
        for name, side in zip(NAMES, pair, strict=True):
            judged, who = side.files.num_rows(), side.judged
            if judged < observed:
                typed = ["assay", "reaudit", store.shown, "--release", who.release.id, "--policy", who.policy.name]
                yield Half(
                    side=name,
                    release=who.release.id,
                    policy=who.policy.name,
                    judged=judged,
                    observed=observed,
                    finish=shlex.join(typed),
                )
