"""The encoder with a network: open_clip from a directory, run by torch.

Knows open_clip's directories, precision and devices. Knows no library, no score, no release. Loading never
touches the network: only local-dir is opened, only safetensors are read (a pickle runs code), and
configurations that name a hub are refused. `export_open_clip` is the one place that may download: it turns
a model's usual name into a directory.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import safetensors.torch
import torch
from open_clip.tokenizer import SimpleTokenizer, default_bpe

from assay.platform.cuda_driver import note_of_gpu
from assay.platform.device_feed import DeviceFeed
from assay.platform.document import did_you_mean
from assay.platform.encoder import (
    Embeddings,
    EncoderSpec,
    Pixels,
    Precision,
    TextVectors,
    check_finite,
    check_pixels,
    refuse_pickles,
)
from assay.platform.errors import ReleaseError, SpecError
from assay.platform.image_tower import ImageTower
from assay.platform.views import Preprocess

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
BPE_FILE = "bpe.txt.gz"

_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
_MICRO_BATCH = {"cpu": 8, "cuda": 64}
"""Images per forward pass. Fixed, and the last pass is padded: another height may choose other kernels and
round otherwise, and then an embedding would depend on its neighbours. Small on a CPU so that one image
online is cheap."""


class ClipEncoder:
    """An open_clip model with its tokenizer. Has the shape of `Encoder`."""

    def __init__(
        self,
        directory: Path,
        digest: str,
        precision: Precision = "fp32",
        device: str = "auto",
        notes: tuple[str, ...] = (),
    ) -> None:
        """`notes`: what it shall say beside its own."""
        config = _read_config(directory)
        self.digest = digest
        self.device = _device(device)
        self.dtype = _DTYPES[precision]
        self._model = _load_model(directory, self.device, self.dtype)
        self._tokenizer = _load_tokenizer(directory, config)
        self._micro_batch = _MICRO_BATCH.get(self.device.type, 8)
        self.calls_at_once = 2 if self.device.type == "cuda" else 1
        self.notes = (*notes, *note_of_gpu(device, self.device.type), *_note_of_bf16(self.device, precision))
        visual = config["model_cfg"]["vision_cfg"]
        convolutional = "timm_model_name" in visual or isinstance(visual.get("layers"), list)
        layout = torch.channels_last if convolutional else torch.contiguous_format
        self._model.visual.to(memory_format=layout)
        self.dim = int(config["model_cfg"]["embed_dim"])
        self.logit_scale = float(self._model.logit_scale.detach().float().exp())
        self.preprocess = _preprocess(directory, config, self._model)
        self.tower = ImageTower(self._model, self.preprocess, self.dtype, layout)
        self._feed = DeviceFeed(self.dim, self.device, self._embed)

    def encode_images(self, pixels: Pixels) -> Embeddings:
        """Embed pixels[n, size, size, 3]."""
        check_pixels(pixels, self.preprocess.size)
        found = self._feed.run(pixels, self._micro_batch)
        check_finite(found, str(self.device), f"overflow in {self.dtype}, or damaged weights")
        return found

    def encode_texts(self, texts: list[str]) -> TextVectors:
        """Embed phrases, one by one: in a batch a vector's last bits depend on its place, and with those of a phrase
        that nobody reworded all images would be scored anew. Longer ones than the text tower reads are cut, as
        open_clip does."""
        found = np.empty((len(texts), self.dim), np.float32)
        with torch.inference_mode():
            for row, text in enumerate(texts):
                vectors = self._model.encode_text(self._tokenizer([text]).to(self.device)).float()
                found[row] = torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()[0]
        return found

    @property
    def context_length(self) -> int:
        """Tokens of a phrase that the text tower reads."""
        return int(self._tokenizer.context_length)

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each phrase with the marks of beginning and end, also of those that are too long to be read."""
        if isinstance(self._tokenizer, SimpleTokenizer):
            return [len(self._tokenizer.encode(text)) + 2 for text in texts]
        return [len(self._tokenizer.tokenizer(text)["input_ids"]) for text in texts]

    @torch.inference_mode()
    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """One pass on the device: uint8[micro-batch, size, size, 3] there to float16[micro-batch, dim] there."""
        vectors: torch.Tensor = self.tower(pixels)
        return vectors.to(torch.float16)


def export_open_clip(spec: EncoderSpec, directory: Path) -> None:
    """Fetch a model by its usual name and write it as a directory that `ClipEncoder` reads."""
    _check_name(spec)
    model, model_cfg = _fetch(spec)
    preprocess: dict[str, Any] = dict(model.visual.preprocess_cfg)
    weights = {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(weights, str(directory / WEIGHTS_FILE), metadata={"format": "pt"})
    if isinstance(open_clip.get_tokenizer(spec.model), SimpleTokenizer):
        shutil.copyfile(default_bpe(), directory / BPE_FILE)
    text = json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess}, indent=2, sort_keys=True)
    (directory / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def _check_name(spec: EncoderSpec) -> None:
    if spec.model.startswith("hf-hub:"):
        return
    if spec.model not in open_clip.list_models():
        near = did_you_mean(spec.model, ["bundled", "hash", *open_clip.list_models()])
        raise ReleaseError(
            f"unknown encoder {spec.model!r}{near}",
            where="encoder.model",
            why="open_clip has no model of this name",
            fix="use bundled, an open_clip name, hf-hub:owner/name or local-dir:path",
        )
    tags = open_clip.list_pretrained_tags_by_model(spec.model)
    if spec.pretrained not in tags:
        near = did_you_mean(str(spec.pretrained), tags)
        raise ReleaseError(
            f"encoder {spec.model!r} has no weights {spec.pretrained!r}{near}",
            where="encoder.pretrained",
            why=f"its tags are: {', '.join(tags) or 'none'}",
            fix="name one of these tags",
        )


def _fetch(spec: EncoderSpec) -> tuple[Any, dict[str, Any]]:
    tag = open_clip.get_pretrained_cfg(spec.model, spec.pretrained) if spec.pretrained else {}
    # open_clip only warns when a tag was trained with another activation: embeddings would be quietly wrong.
    quick_gelu = bool(tag.get("quick_gelu", False))
    try:
        model_cfg: dict[str, Any] = open_clip.get_model_config(spec.model)
        model = open_clip.create_model(
            spec.model, spec.pretrained, force_quick_gelu=quick_gelu, require_pretrained=True
        )
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        raise ReleaseError(
            f"the encoder {spec.model!r} could not be fetched",
            where=f"{spec.model} {spec.pretrained or ''}".strip(),
            why=str(error).splitlines()[0][:300],
            fix="check the network and the name, or export it on a connected machine and use local-dir:path",
        ) from error
    return model, model_cfg | ({"quick_gelu": True} if quick_gelu else {})


def _read_config(directory: Path) -> dict[str, Any]:
    """The directory's configuration, once nothing in the directory speaks against loading it."""
    if not directory.is_dir():
        raise _refusal(directory, "no encoder here", "not a directory", "check the path")
    refuse_pickles(directory)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            raise _refusal(directory, f"the encoder has no {name}", "the file is missing", "export the encoder again")
    try:
        config: dict[str, Any] = json.loads((directory / CONFIG_FILE).read_text("utf-8"))
        vision, text = dict(config["model_cfg"]["vision_cfg"]), dict(config["model_cfg"]["text_cfg"])
    except (ValueError, KeyError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise _refusal(directory, f"{CONFIG_FILE} is not open_clip's", why, "export the encoder again") from error
    if ":" in str(vision.get("timm_model_name", "")) or "hf_model_name" in text:
        raise _refusal(directory, "this encoder needs a hub", "a tower is named, not kept here", "use another encoder")
    return config


def _load_model(directory: Path, device: torch.device, dtype: torch.dtype) -> Any:
    try:
        model = open_clip.create_model(
            f"local-dir:{directory}",
            precision="fp32",
            device="cpu",
            pretrained_image=False,
            pretrained_text=False,
            require_pretrained=True,
        )
    except (RuntimeError, ValueError, KeyError, TypeError, OSError, safetensors.SafetensorError) as error:
        why = str(error).splitlines()[0][:300]
        raise _refusal(directory, "the encoder does not load", why, "export the encoder again") from error
    model = model.eval().requires_grad_(False)
    # Casting the whole model, as open_clip's pure_bf16 does, keeps one dtype through towers of every kind.
    return model.to(device=device, dtype=dtype)


def _load_tokenizer(directory: Path, config: dict[str, Any]) -> Any:
    kept = directory / BPE_FILE
    if config["model_cfg"]["text_cfg"].get("hf_tokenizer_name"):
        files = [path.name for path in directory.glob("*token*")]
        if not files:
            raise _refusal(directory, "the encoder has no tokenizer", "no tokenizer files", "export the encoder again")
        kept = Path()
    try:
        extra = {"bpe_path": str(kept)} if kept.is_file() else {}
        return open_clip.get_tokenizer(f"local-dir:{directory}", **extra)
    except (ImportError, OSError, ValueError) as error:
        why = str(error).splitlines()[0][:300]
        raise _refusal(directory, "the tokenizer does not load", why, "install what it names") from error


def _preprocess(directory: Path, config: dict[str, Any], model: Any) -> Preprocess:
    try:
        return Preprocess.from_open_clip(dict(model.visual.preprocess_cfg) | config.get("preprocess_cfg", {}))
    except SpecError as error:
        raise _refusal(
            directory, "the encoder's preprocessing is not understood", error.why, "mend preprocess_cfg"
        ) from error


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ReleaseError(
            "no GPU here", where=f"device {name}", why="torch sees no CUDA device", fix="use device auto"
        )
    return torch.device(name)


def _note_of_bf16(device: torch.device, precision: Precision) -> tuple[str, ...]:
    has = torch.cpu.get_capabilities()
    is_known = device.type == "cpu" and has.get("architecture") == "x86_64"
    if precision != "bf16" or not is_known or has.get("avx512_bf16") or has.get("amx_bf16"):
        return ()
    cost = "no faster than fp32" if has.get("avx512_f") else "several times slower than fp32"
    return (f"the release wants bf16, which this CPU does not multiply in hardware: right, but {cost}",)


def _refusal(directory: Path, what: str, why: str, fix: str) -> ReleaseError:
    return ReleaseError(what, where=str(directory), why=why, fix=fix)
