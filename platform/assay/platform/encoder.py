"""What an encoder is, how one is asked for, and which files make it.

Knows the `Encoder` protocol, the names users write, and the digest of an encoder's directory. Does not know
torch: the networks are in `clip_encoder.py`, imported only when one is really loaded (4.4 s and 730 MB that
a process which does not encode must not pay).
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from assay.platform.errors import ReleaseError
from assay.platform.hash_encoder import HASH_FILE, HashEncoder, write_hash_encoder
from assay.platform.late_compiler import defer_compiler
from assay.platform.spec import Spec
from assay.platform.views import Decode, Preprocess

Pixels = npt.NDArray[np.uint8]  # [n, size, size, 3], RGB
Embeddings = npt.NDArray[np.float16]  # [n, dim], unit length
TextVectors = npt.NDArray[np.float32]  # [n, dim], unit length

Precision = Literal["fp32", "bf16"]

BUNDLED_ENCODER = Path(__file__).parent / "data" / "starter" / "encoder"
"""The encoder that ships with Assay; read only."""

_READ = (
    *(HASH_FILE, "open_clip_config.json", "open_clip_model.safetensors", "bpe.txt.gz"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
)
"""What loading an encoder reads, by name."""


class EncoderSpec(Spec):
    """Which encoder, as users write it.

    `model` is `bundled`, `hash`, an open_clip name (`ViT-B-32`, with its `pretrained` tag),
    `hf-hub:owner/name`, or `local-dir:path`. A release pins the precision and the way of decoding, because others
    give other embeddings: `scaled` decodes large JPEGs two to four times as fast, and turns over about one verdict in
    sixty.
    """

    model: str = "bundled"
    pretrained: str | None = None
    precision: Precision = "fp32"
    decode: Decode = "full"


class Encoder(Protocol):
    """Turns pictures and phrases into unit vectors of one space."""

    @property
    def digest(self) -> str:
        """sha256 over the files that make this encoder."""
        ...

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...

    @property
    def logit_scale(self) -> float:
        """What cosines were multiplied by in training."""
        ...

    @property
    def preprocess(self) -> Preprocess:
        """How a picture becomes this encoder's input."""
        ...

    @property
    def calls_at_once(self) -> int:
        """Calls of `encode_images` that are best under way together: two leave a GPU no pause between them, on a CPU
        they would only share its cores."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should be told, once, of how it runs here. Mostly nothing."""
        ...

    def encode_images(self, pixels: Pixels) -> Embeddings:
        """Embed pictures; a row's result depends on that row alone. Any thread may call it."""
        ...

    def encode_texts(self, texts: list[str]) -> TextVectors:
        """Embed phrases; a row's result depends on that row alone."""
        ...


def load_encoder(
    directory: Path,
    precision: Precision = "fp32",
    device: str = "auto",
    files: Mapping[str, str] | None = None,
) -> Encoder:
    """The encoder kept in a directory. `files`: its files' digests, if known and checked, as a release's are."""
    if not directory.is_dir():
        raise ReleaseError(
            "no encoder here",
            where=str(directory),
            why="not a directory",
            fix="check the path, or export the encoder again",
        )
    digest = encoder_digest(file_digests(directory) if files is None else files)
    if (directory / HASH_FILE).is_file():
        return HashEncoder.load(directory, digest)
    # Imported here because it loads torch and open_clip: see the module's first words.
    with defer_compiler():
        from assay.platform.clip_encoder import ClipEncoder

    return ClipEncoder(directory, digest, precision, device)


def export_encoder(spec: EncoderSpec, directory: Path) -> None:
    """Write the encoder asked for as a directory that `load_encoder` reads, so that releases pin files, not
    names."""
    directory.mkdir(parents=True, exist_ok=True)
    source = f"local-dir:{BUNDLED_ENCODER}" if spec.model == "bundled" else spec.model
    if spec.model == "hash":
        write_hash_encoder(directory)
    elif source.startswith("local-dir:"):
        _copy(Path(source.removeprefix("local-dir:")), directory)
    else:
        # Imported here for the same reason as in `load_encoder`.
        from assay.platform.clip_encoder import export_open_clip

        export_open_clip(spec, directory)


def _copy(source: Path, directory: Path) -> None:
    if not source.is_dir():
        raise ReleaseError("no encoder here", where=str(source), why="not a directory", fix="check the path")
    for name in encoder_files(source):
        with contextlib.suppress(shutil.SameFileError):
            shutil.copyfile(source / name, directory / name)


def encoder_files(directory: Path) -> tuple[str, ...]:
    """The files that make an encoder, sorted.

    Papers beside it (README, licences, curves) and what registries and caches add do not: they may change without the
    embeddings changing.
    """
    names = [path.name for path in directory.iterdir() if path.is_file()]
    return tuple(sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in _READ)))


def file_digests(directory: Path) -> dict[str, str]:
    """sha256 of each file that makes the encoder in a directory."""
    return {name: file_sha256(directory / name) for name in encoder_files(directory)}


def encoder_digest(files: Mapping[str, str]) -> str:
    """One digest over (name, sha256) of the listed files: the same wherever the directory lies."""
    listed = json.dumps(sorted(files.items()), separators=(",", ":"))
    return hashlib.sha256(listed.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
