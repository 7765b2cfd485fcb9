"""What an encoder is, how one is asked for, and which files make it.

Knows the `Encoder` protocol, the names users write, the digest of an encoder's directory, and which engine runs it.
Does not know torch or OpenVINO: the networks are in `clip_encoder.py` and `openvino_encoder.py`, imported only when one
is really loaded (torch is 4.4 s and 730 MB that a process which does not encode must not pay).
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from assay.platform.cuda_driver import note_of_gpu, sees_gpu
from assay.platform.errors import ReleaseError
from assay.platform.hash_encoder import HASH_FILE, HashEncoder, write_hash_encoder
from assay.platform.late_compiler import defer_compiler
from assay.platform.spec import Spec
from assay.platform.tower_card import CONSTANTS_FILE, TOWER_FILES, TowerCard, wants_tower
from assay.platform.views import Decode, Preprocess

Pixels = npt.NDArray[np.uint8]  # [n, size, size, 3], RGB
Embeddings = npt.NDArray[np.float16]  # [n, dim], unit length
TextVectors = npt.NDArray[np.float32]  # [n, dim], unit length

Precision = Literal["fp32", "bf16"]

BUNDLED_ENCODER = Path(__file__).parent / "data" / "starter" / "encoder"
"""The encoder that ships with Assay; read only."""

_READ = (
    *(HASH_FILE, "open_clip_config.json", "open_clip_model.safetensors", "bpe.txt.gz", *TOWER_FILES),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
)
"""What loading an encoder reads, by name."""

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz", ".joblib")


class EncoderSpec(Spec):
    """Which encoder, as users write it.

    `model` is `bundled`, `hash`, an open_clip name (`ViT-B-32`, with its `pretrained` tag),
    `hf-hub:owner/name`, or `local-dir:path`. A release pins the precision and the way of decoding, because others
    give other embeddings: `scaled` decodes large JPEGs two to four times as fast, and turns over about one verdict in
    ninety.
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
    files = file_digests(directory) if files is None else files
    digest = encoder_digest(files)
    if (directory / HASH_FILE).is_file():
        return HashEncoder.load(directory, digest)
    refuse_pickles(directory)
    notes: tuple[str, ...] = ()
    card = TowerCard.find(directory) if precision == "fp32" else None
    if card is not None and (device == "cpu" or (device == "auto" and not sees_gpu())):
        card.check(directory, files)
        try:
            # Imported here because it loads OpenVINO, which need not be installed.
            from assay.platform.openvino_encoder import OpenvinoEncoder

            return OpenvinoEncoder(directory, digest, card, note_of_gpu(device, "cpu"))
        except ImportError as error:
            notes = (f"encoding with torch, several times slower than with OpenVINO: {error} (install assay[cpu])",)
    return load_clip(directory, digest, precision, device, notes)


def load_clip(directory: Path, digest: str, precision: Precision, device: str, notes: tuple[str, ...] = ()) -> Encoder:
    """The open_clip encoder kept in a directory, run by torch. `notes`: what it shall say beside its own."""
    # Imported here because it loads torch and open_clip: see the module's first words.
    with defer_compiler():
        from assay.platform.clip_encoder import ClipEncoder

    return ClipEncoder(directory, digest, precision, device, notes)


def refuse_pickles(directory: Path) -> None:
    """Refuse an encoder with a file beside it that can run code; a tower's constants are only ever read as numbers."""
    suspects = (path for path in directory.rglob("*") if path.suffix.lower() in _PICKLES)
    pickles = sorted(path.name for path in suspects if path != directory / CONSTANTS_FILE)
    if pickles:
        raise ReleaseError(
            "only safetensors weights are loaded",
            where=str(directory),
            why=f"{', '.join(pickles)}: such files can run code when they are opened",
            fix="convert them, and remove the old files",
        )


def check_pixels(pixels: Pixels, size: int) -> None:
    """Refuse what is not uint8[n, size, size, 3]."""
    if pixels.shape[1:] != (size, size, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"pixels are {pixels.dtype}{pixels.shape}, not uint8[n, {size}, {size}, 3]")


def check_finite(found: Embeddings, where: str, why: str) -> None:
    """Refuse embeddings that are not numbers: `where` they were made, and `why` that may be."""
    if not np.isfinite(found).all():
        raise ReleaseError(
            "the encoder made embeddings that are not numbers",
            where=where,
            why=why,
            fix="use precision fp32; if that does not help, export the encoder again",
        )


def export_encoder(spec: EncoderSpec, directory: Path) -> None:
    """Write the encoder asked for as a directory that `load_encoder` reads, so that releases pin files, not
    names.

    One in fp32 that would gain by it on CPUs has its image tower written beside it a second time, if OpenVINO is
    installed here; a tower that is there already and is of these weights stays as it is, whatever wrote it.
    """
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
    if spec.precision == "fp32":
        _keep_tower(directory)


def _keep_tower(directory: Path) -> None:
    files, card = file_digests(directory), TowerCard.find(directory)
    if card is not None and card.fits(files):
        return
    for name in TOWER_FILES:
        (directory / name).unlink(missing_ok=True)
    if wants_tower(directory) and find_spec("openvino") is not None:
        # Imported here because it loads torch and OpenVINO.
        with defer_compiler():
            from assay.platform.openvino_export import export_tower

        export_tower(directory, files)


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
