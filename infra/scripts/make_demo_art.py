"""Make the demo corpus's packaged art: `noto_art.zip` and the photographs beside it.

Knows where upstream keeps its pictures and which of them we ship. Does not know how scenes are composed from
them (`assay.jobs.scene`). Run once per change of the lists below; what it writes is committed.

    python infra/scripts/make_demo_art.py --noto NODE_MODULES/@iconify-json/noto --photos UNPACKED_WHEELS
"""

import argparse
import io
import json
import zipfile
from pathlib import Path

import resvg_py
from PIL import Image

DATA = Path(__file__).parents[2] / "jobs/assay/jobs/data"
ART_EDGE = 128  # pixels
PHOTO_EDGE = 512
PHOTO_BYTES = 40_000
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: the same art gives the same bytes

TOPICS: dict[str, str] = {
    "weapons": "axe bomb bow-and-arrow crossed-swords dagger kitchen-knife",
    "alcohol": (
        "beer-mug bottle-with-popping-cork clinking-beer-mugs clinking-glasses cocktail-glass sake "
        "tropical-drink tumbler-glass wine-glass"
    ),
    "tobacco": "cigarette",
    "drugs": "pill syringe",
    "gambling": (
        "club-suit diamond-suit flower-playing-cards game-die joker mahjong-red-dragon slot-machine spade-suit"
    ),
    "rude": "face-with-symbols-on-mouth middle-finger",
    "religion": (
        "church dotted-six-pointed-star hindu-temple kaaba khanda latin-cross menorah mosque om "
        "orthodox-cross place-of-worship prayer-beads shinto-shrine star-and-crescent star-of-david "
        "synagogue wheel-of-dharma"
    ),
    "death": "bone coffin drop-of-blood funeral-urn headstone skull skull-and-crossbones",
    "swimwear": "bikini briefs one-piece-swimsuit",
    "money": (
        "coin credit-card dollar-banknote euro-banknote heavy-dollar-sign money-bag money-mouth-face "
        "money-with-wings pound-banknote yen-banknote"
    ),
}
"""What a starter library flags, by topic."""

BENIGN = (
    "abacus accordion airplane alarm-clock alembic ambulance anchor ant aquarius artist-palette automobile "
    "avocado backpack bacon badger badminton bagel baguette-bread balance-scale balloon banana banjo bank "
    "bar-chart baseball basket basketball bat bathtub battery beach-with-umbrella beans bear beaver bed "
    "beetle bell bell-pepper bento-box beverage-box bicycle bird birthday-cake bison blossom blowfish "
    "blue-book blueberries boar bookmark books boomerang bouquet bowl-with-spoon bowling boxing-glove brain "
    "bread brick briefcase broccoli broom bubble-tea bucket bug bullet-train burrito bus butter butterfly "
    "cactus calendar camel camera camping candle candy canned-food canoe carpentry-saw carrot castle cat "
    "cat-face chair cheese-wedge cherries cherry-blossom chess-pawn chestnut chicken chocolate-bar chopsticks "
    "christmas-tree circus-tent cityscape clapper-board clipboard cloud cloud-with-rain clown-face coat "
    "coconut comet compass computer-disk computer-mouse cookie cooking coral couch-and-lamp cow cow-face crab "
    "crayon crescent-moon cricket crocodile croissant crown crystal-ball cucumber cup-with-straw cupcake "
    "curling-stone custard deciduous-tree deer delivery-truck desert-island desktop-computer diving-mask dna "
    "dodo dog dog-face dolphin door doughnut dove dragon dress droplet drum duck dumpling eagle ear-of-corn "
    "egg eggplant electric-plug elephant envelope eraser evergreen-tree factory feather ferris-wheel fire "
    "fire-engine fire-extinguisher firecracker fireworks fish fishing-pole flamingo flashlight flexed-biceps "
    "floppy-disk flute flying-disc folding-hand-fan fork-and-knife fountain four-leaf-clover fox "
    "framed-picture french-fries frog fuel-pump garlic gear gem-stone ghost giraffe glass-of-milk glasses "
    "globe-showing-europe-africa gloves goat goggles goose gorilla graduation-cap grapes green-apple "
    "green-salad grinning-face guitar hamburger hammer hammer-and-wrench hamster handbag harp hatching-chick "
    "headphone hedgehog helicopter herb hibiscus high-heeled-shoe hiking-boot hippopotamus honey-pot honeybee "
    "horse hospital hot-beverage hot-dog hot-pepper hourglass-done house house-with-garden ice ice-cream "
    "ice-skate jack-o-lantern jar jeans jellyfish joystick kangaroo key keyboard kite kiwi-fruit koala ladder "
    "lady-beetle laptop leafy-green lemon leopard light-bulb lighthouse lion lizard llama lobster locked "
    "locomotive lollipop lotus luggage magnet mango maple-leaf maracas meat-on-bone megaphone melon memo "
    "microphone microscope minibus moai mobile-phone monkey motor-scooter motorcycle mountain mouse mushroom "
    "musical-keyboard musical-note necktie nest-with-eggs newspaper no-smoking notebook nut-and-bolt octopus "
    "onion open-book orangutan otter owl ox paintbrush palm-tree pancakes panda paperclip parachute parrot "
    "peach peacock peanuts pear pencil penguin pie pig pineapple pizza police-car pool-8-ball popcorn postbox "
    "potato potted-plant pretzel printer puzzle-piece rabbit raccoon racing-car radio rainbow red-apple "
    "red-heart rhinoceros ribbon ring ringed-planet robot rocket roller-skate rooster rose running-shoe "
    "sailboat sandwich satellite saxophone scarf school scissors screwdriver seal seedling shark shield ship "
    "shopping-cart shortcake shorts shovel shrimp skateboard skis sled sloth snail snake snowflake snowman "
    "soap soccer-ball socks soft-ice-cream spaghetti spider spiral-shell sponge spoon spouting-whale squid "
    "star strawberry sun sunflower sunglasses sushi swan t-rex t-shirt taco taxi teacup-without-handle teapot "
    "teddy-bear telephone telescope television tennis tent thermometer thumbs-up ticket tiger tomato toolbox "
    "toothbrush top-hat tractor train trophy trumpet tulip turkey turtle umbrella unicorn video-camera "
    "video-game violin volcano volleyball waffle watch water-pistol watermelon whale wheel wind-chime window "
    "wolf worm wrapped-gift wrench yarn yo-yo zebra "
)
"""Everyday things, and near misses on purpose: a water pistol, a no-smoking sign, a hammer, herbs."""

PHOTOS: dict[str, str] = {
    "brick": "skimage/data/brick.png",
    "cat": "skimage/data/chelsea.png",
    "clock": "skimage/data/clock_motion.png",
    "coffee": "skimage/data/coffee.png",
    "deep-field": "skimage/data/hubble_deep_field.jpg",
    "dahlia": "sklearn/datasets/images/flower.jpg",
    "grass": "skimage/data/grass.png",
    "gravel": "skimage/data/gravel.png",
    "retina": "skimage/data/retina.jpg",
    "rocket-launch": "skimage/data/rocket.jpg",
    "pagoda": "sklearn/datasets/images/china.jpg",
}


def draw(icons: dict[str, dict[str, str]], name: str) -> bytes:
    """One icon as WebP bytes of `ART_EDGE`² RGBA pixels."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 128">{icons[name]["body"]}</svg>'
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=ART_EDGE, height=ART_EDGE))
    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGBA").save(out, "WEBP", quality=88, alpha_quality=95, method=6)
    return out.getvalue()


def pack_art(noto: Path, target: Path) -> int:
    """Write the art as one zip: `index.json` ([{name, topic}]) and `NAME.webp` each. Returns the number of
    icons.
    """
    icons = json.loads((noto / "icons.json").read_text())["icons"]
    topic_of = {name: topic for topic, names in TOPICS.items() for name in names.split()}
    topic_of |= dict.fromkeys(BENIGN.split(), "")
    pictures = {name: draw(icons, name) for name in sorted(topic_of)}
    index = [{"name": name, "topic": topic_of[name]} for name in pictures]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as pack:
        pack.writestr(zipfile.ZipInfo("index.json", EPOCH), json.dumps(index))
        for name, picture in pictures.items():
            pack.writestr(zipfile.ZipInfo(f"{name}.webp", EPOCH), picture)
    return len(topic_of)


def shrink_photo(source: Path, target: Path) -> int:
    """Recompress to at most `PHOTO_EDGE` and `PHOTO_BYTES`, without metadata. Returns the quality taken."""
    picture = Image.open(source).convert("RGB")
    picture.thumbnail((PHOTO_EDGE, PHOTO_EDGE), Image.Resampling.LANCZOS)
    for quality in range(88, 20, -4):
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality, optimize=True, progressive=True)
        if out.tell() <= PHOTO_BYTES:
            target.write_bytes(out.getvalue())
            return quality
    raise ValueError(f"{source.name} does not fit into {PHOTO_BYTES} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noto", type=Path, required=True, help="folder of @iconify-json/noto 1.2.9")
    parser.add_argument("--photos", type=Path, required=True, help="folder of scikit-image and scikit-learn, unpacked")
    options = parser.parse_args()
    num_icons = pack_art(options.noto, DATA / "noto_art.zip")
    print(f"{num_icons} icons, {(DATA / 'noto_art.zip').stat().st_size:,} bytes")
    (DATA / "photos").mkdir(exist_ok=True)
    for name, path in PHOTOS.items():
        target = DATA / "photos" / f"{name}.jpg"
        quality = shrink_photo(options.photos / path, target)
        print(f"{target.name}: quality {quality}, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
