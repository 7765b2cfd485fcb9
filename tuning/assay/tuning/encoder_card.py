"""The encoder's model card and the picture of its curve, written from what was measured.

Knows figures and words. Does not know tensors or training.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from assay.tuning.encoder_trial import EncoderTrial
from assay.tuning.held_out import Accuracy

# What a moderation library asks for first; their ranks stand in the card.
WATCHED = (
    "water pistol", "kitchen knife", "dagger", "crossed swords", "bomb", "firecracker", "axe",
    "cigarette", "no smoking", "beer mug", "clinking beer mugs", "wine glass", "cocktail glass",
    "bottle with popping cork", "pill", "syringe", "money bag", "dollar banknote", "credit card",
    "game die", "slot machine", "joker", "middle finger", "latin cross", "star and crescent",
    "star of david", "om", "skull", "skull and crossbones", "coffin", "drop of blood", "bikini",
    "kiss mark", "no one under eighteen", "baby", "pirate flag", "fire",
)  # fmt: skip

_WIDTH, _HEIGHT, _MARGIN = 640, 360, 48
_LINES = (
    ("plain-en-top1", "top-1, English, plain", "#1f4e79"),
    ("plain-en-top5", "top-5, English, plain", "#7fa7cc"),
    ("scenes-en-top1", "top-1, English, scenes", "#a63d1f"),
    ("plain-zh-top1", "top-1, Chinese, plain", "#4b7f3a"),
)


def curve_svg(points: Sequence[Mapping[str, float]]) -> str:
    """Held-out accuracy (0..1) over scenes seen."""
    most = max((point["scenes"] for point in points), default=1.0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
    ]
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        parts.append(f'<path d="M{_MARGIN} {y}H{_WIDTH - _MARGIN}" stroke="#ddd"/>')
        parts.append(f'<text x="{_MARGIN - 8}" y="{y + 4}" text-anchor="end">{tenth / 10}</text>')
    for row, (key, label, colour) in enumerate(_LINES):
        dots = " ".join(f"{_x(point['scenes'] / most)},{_y(point[key])}" for point in points)
        parts.append(f'<polyline points="{dots}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{_MARGIN + 8}" y="{_MARGIN + 16 * row}" fill="{colour}">{label}</text>')
    caption = f"held-out style (Noto): accuracy over scenes seen, 0 to {most:,.0f}"
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 14}" text-anchor="middle">{caption}</text></svg>\n')
    return "\n".join(parts)


def _x(share: float) -> float:
    return round(_MARGIN + share * (_WIDTH - 2 * _MARGIN), 1)


def _y(value: float) -> float:
    return round(_HEIGHT - _MARGIN - value * (_HEIGHT - 2 * _MARGIN), 1)


def write_card(trial: EncoderTrial, accuracies: Mapping[str, Accuracy], names: Sequence[str], path: Path) -> None:
    spec, scenes = trial.spec, trial.step * trial.spec.batch
    facts = {
        "concepts": f"{len(names):,}",
        "scenes": f"{scenes:,}",
        "minutes": f"{trial.seconds / 60:.0f}",
        "steps": f"{trial.step:,}",
        "spec": json.dumps(spec.model_dump()),
        "seed": str(spec.seed),
        "table": _accuracy_table(accuracies),
        "watched": _watched_table(accuracies, names),
        "chance": f"{1 / len(names):.4f}",
    }
    text = Path(__file__).with_name("encoder_card.md").read_text(encoding="utf-8")
    for key, value in facts.items():
        text = text.replace(f"[[{key}]]", value)
    path.write_text(text, encoding="utf-8")


def _accuracy_table(accuracies: Mapping[str, Accuracy]) -> str:
    rows = [
        f"| {kind} | {language} | {accuracies[f'{kind}-{language}'].top1:.3f} "
        f"| {accuracies[f'{kind}-{language}'].top5:.3f} |"
        for kind in ("plain", "scenes")
        for language in ("en", "zh")
    ]
    return "\n".join(["| pictures | names | top-1 | top-5 |", "|---|---|---|---|", *rows])


def _watched_table(accuracies: Mapping[str, Accuracy], names: Sequence[str]) -> str:
    """Ranks from 1: where the right name came among all names."""
    rows = []
    for name in WATCHED:
        if name in names:
            place = list(names).index(name)
            ranks = [int(accuracies[key].ranks[place]) + 1 for key in ("plain-en", "plain-zh", "scenes-en")]
            rows.append(f"| {name} | {' | '.join(str(rank) for rank in ranks)} |")
    head = ["| concept | plain, English | plain, Chinese | scene, English |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])
