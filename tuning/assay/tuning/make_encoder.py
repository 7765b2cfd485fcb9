"""Entry: trains the bundled encoder, or goes on where the last run stopped.

python -m assay.tuning.make_encoder --minutes 70
"""

from pathlib import Path

import cyclopts

from assay.tuning.art import HELD_OUT_STYLE, TRAINED_STYLES, fetch_art, load_shelf
from assay.tuning.captions import CaptionBook
from assay.tuning.concepts import read_concepts
from assay.tuning.encoder_files import publish, write_ranks
from assay.tuning.encoder_trial import EncoderTrial, EncoderTrialSpec, Matter
from assay.tuning.held_out import HeldOut
from assay.tuning.photographs import photograph_names
from assay.tuning.words import load_words


def make_encoder(
    minutes: float = 600.0,
    build: Path = Path("build"),
    out: Path = Path("platform/assay/platform/data/starter/encoder"),
    cldr: Path = Path("/usr/share/unicode/cldr/common"),
) -> None:
    """Publishes to `out` what has been learned when it ends.

    `minutes` stops early, to be gone on with later (0 only publishes); `build` keeps art and
    checkpoint; `cldr` is where Debian's unicode-cldr-core puts its files.
    """
    work, art = build / "encoder", build / "art"
    concepts = read_concepts(fetch_art(art) / "emoji-datasource", cldr)
    print(f"{len(concepts)} concepts; rendering or loading art", flush=True)
    work.mkdir(parents=True, exist_ok=True)
    book = CaptionBook(concepts)
    words = load_words(book, photograph_names(), work / "bpe.txt.gz")
    held_out = HeldOut(load_shelf((HELD_OUT_STYLE,), concepts, art), book, words)
    matter = Matter(load_shelf(TRAINED_STYLES, concepts, art), book, words, held_out)
    spec = EncoderTrialSpec()
    trial = EncoderTrial(spec, matter, work / "checkpoint.pt")
    trial.run(minutes)
    names = [concept.name for concept in concepts]
    write_ranks(publish(trial, held_out, names, out), names, work / "ranks.json")


if __name__ == "__main__":
    cyclopts.run(make_encoder)
