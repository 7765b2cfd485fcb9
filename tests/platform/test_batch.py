import io

import numpy as np
from PIL import Image

from assay.platform.batch import BATCH_ROWS, ImageBatch, Looked
from assay.platform.faults import Fault, FaultKind
from assay.platform.images import Budget, Decoded, Preprocess, View, decode
from assay.platform.rows import ImageRef

PREPROCESS = Preprocess(size=8, fit="squash", mean=(0, 0, 0), std=(1, 1, 1))


def ref(number: int) -> ImageRef:
    return ImageRef(f"s3://b/{number}\n<b>", f"etag-{number}", number)


def seen(number: int, views: int) -> Looked:
    pixels = np.full((views, 8, 8, 3), number, np.uint8)
    view = View("frame", (0.0, 0.0, 1.0, 1.0), 0.5)
    return Looked(ref(number), Decoded(pixels, (view,) * views, "GIF", 20, 10, 7), bytes([number]) * 32)


def unseen(number: int, detail: str = "why") -> Looked:
    return Looked(ref(number), Fault(FaultKind.GONE, detail))


def test_rows_and_pixels_belong_together() -> None:
    looked = [unseen(0), seen(1, 1), seen(2, 3), unseen(3), seen(4, 2)]
    batch = ImageBatch.of(9, looked, 8)
    assert batch.rows.schema.equals(BATCH_ROWS)
    assert batch.rows["uri"].to_pylist() == [one.ref.uri for one in looked]
    assert batch.rows["shard"].to_pylist() == [9] * 5
    assert [len(views) for views in batch.rows["views"].to_pylist()] == [0, 1, 3, 0, 2]
    assert batch.pixels[:, 0, 0, 0].tolist() == [1, 2, 2, 2, 4, 4]
    assert batch.pixels.dtype == np.uint8


def test_what_is_known_of_an_image() -> None:
    batch = ImageBatch.of(9, [seen(4, 1), unseen(5), unseen(6, "")], 8)
    good, fault, silent = batch.rows.to_pylist()
    assert good["outcome"] == "ok"
    assert (good["format"], good["width"], good["height"], good["frames"]) == ("GIF", 20, 10, 7)
    assert (good["etag"], good["size"], good["sha256"]) == ("etag-4", 4, b"\x04" * 32)
    assert good["views"] == [{"kind": "frame", "x0": 0.0, "y0": 0.0, "x1": 1.0, "y1": 1.0, "time_s": 0.5}]
    assert good["detail"] is None
    assert (fault["outcome"], fault["detail"], fault["views"]) == ("GONE", "why", [])
    assert fault["sha256"] is fault["format"] is fault["width"] is None
    assert silent["detail"] is None


def test_a_fault_of_content_keeps_the_hash_of_its_bytes() -> None:
    batch = ImageBatch.of(0, [Looked(ref(1), Fault(FaultKind.CORRUPT), b"h" * 32)], 8)
    assert batch.rows["sha256"].to_pylist() == [b"h" * 32]


def test_nothing_seen_is_a_batch_too() -> None:
    for looked in ([], [unseen(0), unseen(1)]):
        batch = ImageBatch.of(0, looked, 8)
        assert batch.rows.num_rows == len(looked)
        assert batch.rows.schema.equals(BATCH_ROWS)
        assert batch.pixels.shape == (0, 8, 8, 3)


def test_what_decode_gives_fits() -> None:
    sink = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(sink, "PNG")
    found = [decode(data, PREPROCESS, Budget()) for data in (sink.getvalue(), b"", b"text")]
    batch = ImageBatch.of(0, [Looked(ref(number), one) for number, one in enumerate(found)], 8)
    assert batch.rows["outcome"].to_pylist() == ["ok", "EMPTY", "UNSUPPORTED_FORMAT"]
    assert len(batch.pixels) == len(batch.rows["views"][0])
