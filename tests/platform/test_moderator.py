import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from assay.platform.batch import BATCH_ROWS, ImageBatch, Looked
from assay.platform.calibration import Calibration
from assay.platform.encoder import EncoderSpec
from assay.platform.errors import ConservationError, PolicyError, ReleaseError
from assay.platform.hash_encoder import COLOURS
from assay.platform.images import Budget, Decoded, decode
from assay.platform.moderator import Moderator, is_finite
from assay.platform.promise import LabelPoints, OperatingPoint, OperatingPoints, Target
from assay.platform.release import Release, bundled_release, resolve_release
from assay.platform.release_build import ReleaseSpec, add_measured, build_release, hash_release
from assay.platform.rows import OBSERVATIONS, VERDICTS, ImageRef

LIBRARY = """\
assay_library: 1
name: colours
background: {en: [white, black, a tree]}
categories:
  hue:
    labels:
      warm:
        counter_prompts: {en: [cyan]}
        concepts:
          amber: {prompts: {en: [yellow]}}
      hot:
        parent: warm
        counter_prompts: {en: [green]}
        concepts:
          scarlet: {prompts: {en: [red]}}
      cold:
        counter_prompts: {en: [magenta]}
        concepts:
          navy: {prompts: {en: [blue]}}
"""
POLICY = """\
assay_policy: 1
name: fire
on_fault: block
labels:
  warm: {review: 0.5, block: 0.99}
  hot: {review: 0.5, block: {precision: 0.9}}
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    made = tmp_path_factory.mktemp("colours")
    (made / "in.yaml").write_text(LIBRARY)
    (made / "fire.yaml").write_text(POLICY)
    spec = ReleaseSpec(
        name="colours", encoder=EncoderSpec(model="hash"), library=made / "in.yaml", policies=(made / "fire.yaml",)
    )
    raw = build_release(made / "raw", spec)
    bound = Calibration().point_bindings(raw.bindings(), raw.library())
    point = OperatingPoint(
        threshold=0.6,
        target=Target(precision=0.9),
        **{"estimate": 0.95, "bound": 0.91, "images": 500, "positives": 90, "flagged": 80},
        golden="g",
        bound_to=bound["hot"],
    )
    points = OperatingPoints(policies={"fire": {"hot": LabelPoints(block=point)}})
    return add_measured(raw, made / "release", Calibration(), points)


@pytest.fixture(scope="module")
def moderator(release: Release) -> Moderator:
    return Moderator(release)


def batch(images: Sequence[Sequence[str]]) -> ImageBatch:
    """Images as lists of views, each a painted colour; an image without views is a fault."""
    rows = [
        {
            "shard": 7,
            "uri": f"s3://b/{number}",
            "etag": "e",
            "size": 1,
            "outcome": "ok" if views else "TRUNCATED",
            "views": [{"kind": "tile"} for _ in views],
        }
        for number, views in enumerate(images)
    ]
    painted = [np.full((32, 32, 3), COLOURS[view], np.uint8) for views in images for view in views]
    pixels = np.stack(painted) if painted else np.empty((0, 32, 32, 3), np.uint8)
    return ImageBatch(pa.Table.from_pylist(rows, schema=BATCH_ROWS), pixels)


def test_judge(moderator: Moderator) -> None:
    judged = moderator.judge(batch([["white"], [], ["white", "red"], ["yellow"], ["blue"]]))
    assert judged.observations.schema == OBSERVATIONS
    assert judged.verdicts.schema == VERDICTS
    judged.observations.validate(full=True)
    judged.verdicts.validate(full=True)
    assert [len(one) for one in judged.observations["embedding"].to_pylist()] == [128, 0, 256, 128, 128]
    assert judged.verdicts["action"].to_pylist() == ["pass", "block", "block", "review", "pass"]  # warm: by hand


def test_a_finding_says_why(moderator: Moderator) -> None:
    verdict = moderator.judge(batch([["white", "red"]])).verdicts.to_pylist()[0]
    assert verdict["release"] == moderator.release.id
    assert verdict["policy"] == "fire"
    hot, warm = sorted(verdict["findings"], key=lambda finding: str(finding["label"]))
    assert {**hot, "score": None} == {
        "label": "hot",
        "action": "block",
        "score": None,
        "concept": "scarlet",
        "prompt": "red",
        "counter": "black",  # of hot: green, and the background
        "view": 1,
    }
    # A parent's finding names the child's concept that made it.
    assert (warm["label"], warm["concept"], warm["view"]) == ("warm", "scarlet", 1)
    assert dict(verdict["scores"]).keys() == {"cold", "hot", "warm"}
    assert dict(verdict["scores"])["hot"] == hot["score"]


def test_a_fault_has_no_scores(moderator: Moderator) -> None:
    verdict = moderator.judge(batch([[]])).verdicts.to_pylist()[0]
    assert (verdict["outcome"], verdict["action"]) == ("TRUNCATED", "block")
    assert verdict["findings"] == []
    assert verdict["scores"] is None


def test_an_empty_batch(moderator: Moderator) -> None:
    judged = moderator.judge(batch([]))
    assert judged.verdicts.num_rows == 0
    assert judged.verdicts.schema == VERDICTS


@settings(derandomize=True, max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(sorted(COLOURS)), max_size=3), max_size=12), st.integers(1, 5))
def test_a_verdict_depends_on_its_image_alone(moderator: Moderator, images: list[list[str]], size: int) -> None:
    observations = moderator.observe(batch(images))
    whole = moderator.decide(observations)
    parts = [moderator.decide(observations.slice(start, size)) for start in range(0, len(images), size)]
    assert pa.concat_tables([whole.slice(0, 0), *parts]).equals(whole)
    assert whole["uri"].to_pylist() == observations["uri"].to_pylist()
    # The same from several chunks, as a table read from several files has.
    pieces = [observations.slice(start, size) for start in range(0, len(images), size)]
    assert moderator.decide(pa.concat_tables([observations.slice(0, 0), *pieces])).equals(whole)


def test_an_images_score_is_the_greatest_of_its_views(moderator: Moderator) -> None:
    verdicts = moderator.judge(batch([["blue"], ["red"], ["blue", "red"]])).verdicts
    blue, red, both = (dict(scores) for scores in verdicts["scores"].to_pylist())
    assert both == {label: max(blue[label], red[label]) for label in both}


def test_observations_read_without_their_views(moderator: Moderator) -> None:
    observations = moderator.observe(batch([["red"], [], ["white", "blue"]]))
    few = observations.select(["shard", "uri", "etag", "outcome", "embedding"])
    assert moderator.decide(few).equals(moderator.decide(observations))


def test_observations_of_another_encoder(moderator: Moderator) -> None:
    observations = moderator.observe(batch([["red"], ["blue"]]))
    position = observations.column_names.index("embedding")
    short = pa.array([b"\0" * 128, b"\0" * 64], pa.binary())
    with pytest.raises(ReleaseError) as caught:
        moderator.decide(observations.set_column(position, OBSERVATIONS.field(position), short))
    assert caught.value.where == "s3://b/1 (ok)"
    assert caught.value.why == "its embedding has 64 bytes; this encoder makes 128 per view"


def test_a_stored_embedding_that_is_no_number(moderator: Moderator) -> None:
    observations = moderator.observe(batch([["red"]]))
    position = observations.column_names.index("embedding")
    bad = pa.array([np.full(64, np.nan, "<f2").tobytes()], pa.binary())
    with pytest.raises(ReleaseError, match="not a number"):
        moderator.decide(observations.set_column(position, OBSERVATIONS.field(position), bad))


def test_pixels_that_do_not_belong(moderator: Moderator) -> None:
    good = batch([["red"], ["blue"]])
    with pytest.raises(ConservationError):
        moderator.observe(ImageBatch(good.rows, good.pixels[:1]))


def test_an_unknown_policy(release: Release) -> None:
    with pytest.raises(PolicyError, match="did you mean 'fire'"):
        Moderator(release, "fires")


def test_deciding_loads_no_encoder(release: Release, moderator: Moderator, monkeypatch: pytest.MonkeyPatch) -> None:
    observations = moderator.observe(batch([["red"]]))
    monkeypatch.setattr("assay.platform.release.load_encoder", lambda *_args: pytest.fail("the encoder was loaded"))
    assert Moderator(release).decide(observations)["action"].to_pylist() == ["block"]


def test_a_whole_null_run_needs_no_torch(tmp_path: Path) -> None:
    hash_release(tmp_path)
    code = (
        "import sys; from pathlib import Path; import numpy as np, pyarrow as pa;"
        "from assay.platform.batch import ImageBatch; from assay.platform.moderator import Moderator;"
        "from assay.platform.release import Release;"
        f"m = Moderator(Release.load(Path({str(tmp_path)!r})));"
        "m.judge(ImageBatch.of(0, [], m.preprocess.size)); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not (bundled_release() / "release.json").is_file(), reason="the starter release is not built yet")
def test_the_bundled_release_passes_a_picture_of_nothing() -> None:
    moderator = Moderator(resolve_release(), device="cpu")
    image = decode(_png((255, 255, 255)), moderator.preprocess, Budget())
    assert isinstance(image, Decoded)
    looked = Looked(ImageRef("s3://b/white.png", "e", 1), image)
    judged = moderator.judge(ImageBatch.of(0, [looked], moderator.preprocess.size))
    assert judged.verdicts["action"].to_pylist() == ["pass"]


def _png(colour: tuple[int, int, int]) -> bytes:
    data = BytesIO()
    Image.new("RGB", (90, 60), colour).save(data, "PNG")
    return data.getvalue()


def test_what_is_no_number_is_found_as_numpy_finds_it() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    assert [is_finite(one) for one in every.reshape(-1, 1)] == np.isfinite(every).tolist()
    assert is_finite(np.empty((0, 4), np.float16))
