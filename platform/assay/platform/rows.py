"""The rows Assay writes and the Arrow schemas they have. Knows columns; knows nothing of files, Ray or models.

Identity of an image is (uri, etag). `shard` is a number that never shifts: shards of later manifest generations go on
counting. A column that no code fills yet (`text`) is there so that stores need no rewrite when it comes.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

SCHEMA_VERSION = 1
"""Version of the store's tables. A store with a greater number was written by a newer Assay and is refused."""


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One stored object as the listing saw it. `etag` is the store's; of a local file it is size-mtime_ns-inode."""

    uri: str
    etag: str
    size: int


MANIFEST = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("shard", pa.int64(), nullable=False),
    ]
)
"""One listing of the corpus, sorted by uri."""

VIEW = pa.struct(
    [
        pa.field("kind", pa.string(), nullable=False),  # whole | tile | frame | on_black
        pa.field("x0", pa.float32()),  # box in fractions of width and height, after EXIF rotation
        pa.field("y0", pa.float32()),
        pa.field("x1", pa.float32()),
        pa.field("y1", pa.float32()),
        pa.field("time_s", pa.float32()),  # of an animation's frame; null for a still
    ]
)
"""What one embedding of an image saw."""

OBSERVATIONS = pa.schema(
    [
        pa.field("shard", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),  # "ok" or a FaultKind
        pa.field("detail", pa.string()),  # of a fault
        pa.field("format", pa.string()),  # JPEG, PNG, …
        pa.field("width", pa.int32()),  # after EXIF rotation
        pa.field("height", pa.int32()),
        pa.field("frames", pa.int32()),
        pa.field("sha256", pa.binary()),  # of the stored bytes
        pa.field("views", pa.list_(VIEW)),
        pa.field("embedding", pa.binary(), nullable=False),  # float16[views, d] little endian; empty for a fault
        pa.field("text", pa.string()),  # posted with the image
        pa.field("signals", pa.map_(pa.string(), pa.float32())),  # other than text prompts
    ]
)
"""What was seen. Depends on the encoder only, never on a library or a policy."""

MAPPED = "mapped_agreement"
"""The signal of an observation that the encoder never made: `assay migrate` mapped it from another encoder's. Its value
is the share of decisions that are the same as on real embeddings, at least."""


def are_mapped(signals: pa.ChunkedArray | pa.MapArray) -> pa.ChunkedArray | pa.Array:
    """Which of a column of signals have `MAPPED`; bool, never null."""
    return pc.is_valid(pc.map_lookup(signals, MAPPED, "first"))


FINDING = pa.struct(
    [
        pa.field("label", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("concept", pa.string()),
        pa.field("prompt", pa.string()),  # the phrase that scored highest
        pa.field("counter", pa.string()),  # the phrase that spoke most against it
        pa.field("view", pa.int32()),  # index into the observation's views
    ]
)
"""One label over a threshold, with the phrases that made its score."""

VERDICTS = pa.schema(
    [
        pa.field("shard", pa.int64(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),  # pass | review | block
        pa.field("findings", pa.list_(FINDING)),
        pa.field("scores", pa.map_(pa.string(), pa.float32())),  # every label of the library; null for a fault
        pa.field("release", pa.string(), nullable=False),
        pa.field("policy", pa.string(), nullable=False),
    ]
)
"""The decision, keyed (uri, etag, release, policy): a pure function of (observation, release, policy)."""

VERDICT_PARTITIONS = ("release", "policy")
"""Delta partition columns of `VERDICTS`: they live in the transaction log, not in the data files."""

VERDICT_FILE = pa.schema([field for field in VERDICTS if field.name not in VERDICT_PARTITIONS])
"""The columns a verdict data file holds."""
