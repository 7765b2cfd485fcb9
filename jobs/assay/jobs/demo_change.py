"""The demo's second half: a rule that nobody had thought of, over everything that was ever scanned.

Knows the new words, and the order of things: the bucket is moved away, the library grows by a label, all that is stored
is judged again, the bucket comes back (for thumbnails), and the page tells what is different. Everything it runs is
what production runs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from assay.jobs.diff import DiffSpec, diff
from assay.jobs.reaudit import ReauditFacts, ReauditSpec
from assay.jobs.verify import VerifySpec, verify
from assay.platform.encoder import EncoderSpec
from assay.platform.errors import ConservationError
from assay.platform.release import bundled_release
from assay.platform.release_build import ReleaseSpec, build_release

PYROTECHNICS: dict[str, Any] = {
    "description": "Fireworks, as a shop may want to keep them off its pages. No other taxonomy names them",
    "counter_prompts": {
        "en": ["star", "sparkle", "flower", "sun", "snowflake", "umbrella", "Christmas tree", "balloon"],
        "zh": ["星星", "火花", "花", "太阳", "雪花", "雨伞", "圣诞树", "气球"],
    },
    "concepts": {"fireworks": {"prompts": {"en": ["fireworks", "sparkler"], "zh": ["烟花", "烟火"]}}},
}
"""What the new rule is about."""

RunReaudit = Callable[[ReauditSpec, bool], ReauditFacts]


class ChangeFacts(BaseModel):
    """What the new rule changes."""

    model_config = ConfigDict(frozen=True)

    before: str
    after: str
    judged: int
    carried: tuple[str, ...]
    scored: tuple[str, ...]
    images_per_second: float
    newly_flagged: int
    library: str
    page: str
    json_file: str


def change_text(folder: Path, store: Path, before: str, policy: str, run: RunReaudit, as_json: bool) -> ChangeFacts:
    """Add the label to a copy of the starter library, judge the store again without its bucket, and write the page.

    Raises:
        ConservationError: the store did not verify.
    """
    bucket, away, page = folder / "bucket", folder / "bucket-moved-away", folder / "diff.html"
    release = _build(folder / "fireworks-release")
    bucket.rename(away)
    try:
        audited = run(ReauditSpec(store=str(store), release=str(release), policy=policy), as_json)
    finally:
        away.rename(bucket)
    proof = verify(VerifySpec(store=str(store)))
    if not proof.sound:
        raise ConservationError("the demo's store does not verify", where=str(store), why=str(proof), fix="report this")
    told = diff(DiffSpec(store=str(store), before=before, after=audited.release, policy=policy, html=page))
    return ChangeFacts(
        before=before,
        after=audited.release,
        judged=audited.judged,
        carried=audited.labels_carried,
        scored=audited.labels_scored,
        images_per_second=audited.images_per_second,
        newly_flagged=sum(label.moves.newly_flagged for change in told.policies for label in change.labels),
        library=str(release / "library.yaml"),
        page=str(page),
        json_file=str(told.json_file),
    )


def _build(directory: Path) -> Path:
    """The starter release with one label more. What was promised of the others holds still."""
    starter = bundled_release()
    library = yaml.safe_load((starter / "library.yaml").read_text(encoding="utf-8"))
    library["categories"]["commerce"]["labels"]["pyrotechnics"] = PYROTECHNICS
    directory.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump({**library, "name": "fireworks"}, allow_unicode=True, sort_keys=False, width=120)
    (directory / "library.yaml").write_text(text, encoding="utf-8")
    wanted = ReleaseSpec(
        name="fireworks",
        description="The starter release, and a label for fireworks",
        encoder=EncoderSpec(),
        library=directory / "library.yaml",
        policies=tuple(starter / "policies" / f"{name}.yaml" for name in ("strict", "lenient")),
        calibrated_like=starter,
    )
    build_release(directory, wanted)
    return directory
