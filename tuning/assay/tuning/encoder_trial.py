"""One training run of the bundled encoder: steps, checkpoints, the held-out curve.

Knows the schedule and what must be kept to go on after a stop. Does not know where the art comes from or how
the encoder is published. Every step draws from a generator seeded by (seed, step), so a resumed run takes the
same steps as one that was never stopped.
"""

import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional

from assay.tuning.art import Shelf
from assay.tuning.captions import CaptionBook
from assay.tuning.contrast import Banks, Pictures, Texts, contrast, first_places, remember
from assay.tuning.held_out import HeldOut
from assay.tuning.photographs import Photographs, load_photographs
from assay.tuning.scenes import Compositor
from assay.tuning.towers import EMBED_DIM, IMAGE_PX, ImageWay, build_towers, embed_texts
from assay.tuning.words import Words

_MAX_SCALE = math.log(100)


class EncoderTrialSpec(BaseModel):
    model_config = ConfigDict(frozen=True)

    seed: int = 7
    steps: int = Field(default=1_800, gt=0)
    batch: int = Field(default=128, gt=1)
    small_px: int = 80  # early steps are cheap, late ones see what the encoder will be given
    small_share: float = Field(default=0.65, ge=0, le=1)
    photograph_batch: int = 40
    photograph_weight: float = 0.25
    feature_scenes: int = 1_024  # looked at before the first step, for the photographs' mean and spread
    tower_rate: float = 5e-4
    head_rate: float = 1.2e-3
    weight_decay: float = 0.05
    warm_up: int = 100
    averaged: float = 0.997  # of the exponential moving average that is published
    remembered: float = 0.7
    refresh_every: int = 16
    measure_every: int = 150
    checkpoint_every: int = 50


@dataclass(frozen=True)
class Matter:
    """What a run learns from."""

    shelf: Shelf
    book: CaptionBook
    words: Words
    held_out: HeldOut | None


class EncoderTrial:
    def __init__(self, spec: EncoderTrialSpec, matter: Matter, checkpoint: Path) -> None:
        self.spec, self.matter, self._checkpoint = spec, matter, checkpoint
        torch.manual_seed(spec.seed)
        # Evaluation mode throughout: BatchNorm keeps the statistics of ImageNet.
        self.model = build_towers(matter.words.vocab_size).eval()
        self.averaged = copy.deepcopy(self.model).requires_grad_(False)
        self._way = ImageWay(self.model)
        self._optimizer = torch.optim.AdamW(_groups(self.model, spec))
        self._photographs = self._look_at_photographs()
        self.step = 0
        self.seconds = 0.0
        self.curve: list[dict[str, float]] = []
        num_concepts, num_classes = matter.shelf.num_concepts + 1, len(self._photographs.names)
        self._banks = {
            "texts": torch.zeros(num_concepts, EMBED_DIM),
            "pictures": torch.zeros(num_concepts, EMBED_DIM),
            "photograph texts": torch.zeros(num_classes, EMBED_DIM),
            "photographs": torch.zeros(num_classes, EMBED_DIM),
        }
        if checkpoint.is_file():
            self._resume()

    def run(self, minutes: float = math.inf) -> bool:
        """Goes on until the last step or the time limit; True when all steps are done."""
        started = last_line = time.monotonic()
        before, first = self.seconds, self.step
        while self.step < self.spec.steps and time.monotonic() - started < minutes * 60:
            loss = self.advance()
            self.seconds = before + time.monotonic() - started
            done = self.step == self.spec.steps
            if done or self.step % self.spec.measure_every == 0:
                self._measure()
            if done or self.step % self.spec.checkpoint_every == 0:
                self.save()
            if time.monotonic() - last_line > 10:
                last_line = time.monotonic()
                rate = self.step * self.spec.batch / self.seconds
                print(f"step {self.step}/{self.spec.steps} loss {loss:.3f} scenes/s {rate:.0f}", flush=True)
        if self.step > first:
            self.save()
        return self.step == self.spec.steps

    def advance(self) -> float:
        """One step; returns its loss."""
        generator = torch.Generator().manual_seed(self.spec.seed * 1_000_003 + self.step)
        if self.step % self.spec.refresh_every == 0:
            self._refresh(generator)
        self._set_rates()
        loss = self._scene_loss(generator)
        if self.spec.photograph_weight:
            loss = loss + self.spec.photograph_weight * self._photograph_loss(generator)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self._optimizer.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=_MAX_SCALE)
        self.step += 1
        self._average()
        return loss.item()

    def _scene_loss(self, generator: torch.Generator) -> torch.Tensor:
        spec, book = self.spec, self.matter.book
        num_concepts = self.matter.shelf.num_concepts
        drawn = torch.randperm(num_concepts, generator=generator)[: spec.batch]
        px = spec.small_px if self.step < spec.small_share * spec.steps else IMAGE_PX
        scenes = Compositor(self.matter.shelf, generator).compose(drawn, px)
        embeddings = self._way.embed(self._way.features(scenes.images, generator))
        pictures = Pictures(embeddings, scenes.concepts, scenes.shares)
        told = scenes.concepts[first_places(scenes.concepts[:, 0]), 0]
        captions = book.sample(told, generator)
        owned = book.owners[[caption.phrase for caption in captions]]
        texts = Texts(self._embed([caption.text for caption in captions]), told, owned)
        banks = Banks(self._banks["texts"], self._banks["pictures"])
        loss = contrast(pictures, texts, banks, self.model.logit_scale.exp())
        self._banks["pictures"] = remember(banks.pictures, pictures, spec.remembered)
        return loss

    def _photograph_loss(self, generator: torch.Generator) -> torch.Tensor:
        photographs = self._photographs
        classes = torch.randperm(len(photographs.names), generator=generator)[: self.spec.photograph_batch]
        embeddings = self._way.embed(photographs.pretend(classes, generator))
        shares = torch.tensor([1.0, 0.0]).expand(len(classes), 2)
        pictures = Pictures(embeddings, torch.stack([classes, classes], dim=1), shares)
        owned = functional.one_hot(classes, len(photographs.names)).bool()
        texts = Texts(self._embed(self._photograph_captions(classes, generator)), classes, owned)
        banks = Banks(self._banks["photograph texts"], self._banks["photographs"])
        return contrast(pictures, texts, banks, self.model.logit_scale.exp())

    def _photograph_captions(self, classes: torch.Tensor, generator: torch.Generator) -> list[str]:
        chances = torch.rand(len(classes), generator=generator).tolist()
        names = [self._photographs.names[row] for row in classes.tolist()]
        pairs = zip(names, chances, strict=True)
        return [self.matter.book.sentence(name, "en", chance) for name, chance in pairs]

    def _embed(self, texts: list[str]) -> torch.Tensor:
        return embed_texts(self.model, self.matter.words.tokens(texts))

    @torch.no_grad()
    def _refresh(self, generator: torch.Generator) -> None:
        """The remembered texts grow stale as the text tower moves. Every third time they are Chinese."""
        turn = self.step // self.spec.refresh_every
        language = "zh" if turn % 3 == 2 else "en"
        self._banks["texts"] = self._embed(self.matter.book.names[language])
        if self.spec.photograph_weight and turn % 3 == 0:
            photographs = self._photographs
            classes = torch.arange(len(photographs.names))
            self._banks["photograph texts"] = self._embed(list(photographs.names))
            self._banks["photographs"] = self._way.embed(photographs.pretend(classes, generator))

    @torch.no_grad()
    def _look_at_photographs(self) -> Photographs:
        """Features of scenes before the first step: the space ImageNet's classifier vectors live in."""
        generator = torch.Generator().manual_seed(self.spec.seed)
        compositor = Compositor(self.matter.shelf, generator, natural=True)
        way, parts = ImageWay(build_towers(self.matter.words.vocab_size).eval()), []
        for _ in range(self.spec.feature_scenes // self.spec.batch):
            drawn = torch.randint(0, self.matter.shelf.num_concepts, (self.spec.batch,), generator=generator)
            parts.append(way.features(compositor.alone(drawn, IMAGE_PX)))
        return load_photographs(torch.cat(parts))

    def _set_rates(self) -> None:
        warm = min(1.0, (self.step + 1) / self.spec.warm_up)
        cooled = 0.5 + 0.5 * math.cos(math.pi * self.step / self.spec.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * warm * max(cooled, 0.01)

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.spec.averaged, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            if value.requires_grad:
                mean.lerp_(value, 1 - keep)

    def _measure(self) -> None:
        if self.matter.held_out is None:
            return
        point: dict[str, float] = {
            "step": self.step,
            "scenes": self.step * self.spec.batch,
            "seconds": round(self.seconds),
        }
        for key, accuracy in self.matter.held_out.measure(self.averaged).items():
            point[f"{key}-top1"] = round(accuracy.top1, 4)
            point[f"{key}-top5"] = round(accuracy.top5, 4)
        self.curve.append(point)
        print(f"held out {json.dumps(point)}", flush=True)

    def save(self) -> None:
        self._checkpoint.parent.mkdir(parents=True, exist_ok=True)
        aside = self._checkpoint.with_suffix(".aside")
        torch.save(self._state(), aside)
        aside.rename(self._checkpoint)

    def _state(self) -> dict[str, Any]:
        return {
            "spec": self.spec.model_dump(),
            "step": self.step,
            "seconds": self.seconds,
            "curve": self.curve,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "banks": self._banks,
        }

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
        made_with = EncoderTrialSpec(**state["spec"]).model_dump()
        changed = {key for key, value in self.spec.model_dump().items() if made_with[key] != value}
        if changed:
            raise ValueError(
                f"{self._checkpoint} was made with other settings ({', '.join(sorted(changed))}): "
                "go on with the same ones, or remove the file to start anew"
            )
        self.step, self.seconds, self.curve = state["step"], state["seconds"], state["curve"]
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._banks = state["banks"]


def _groups(model: open_clip.CLIP, spec: EncoderTrialSpec) -> list[dict[str, Any]]:
    """The tower knows ImageNet and moves slowly; the rest starts at random. Only matrices decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            key = (name.startswith("visual.trunk."), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": spec.tower_rate if tower else spec.head_rate,
            "weight_decay": spec.weight_decay if decays else 0.0,
        }
        for (tower, decays), parameters in groups.items()
    ]
