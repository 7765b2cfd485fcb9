"""What tests of the service share: one in this process, with a release that knows colours."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.jobs.colour_releases import colour_release
from tests.service_double import Double, service_double


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """A service that knows red and blue."""
    with service_double(colour_release(tmp_path_factory.mktemp("colours") / "release")) as running:
        yield running


@pytest.fixture(scope="session")
def picture() -> Callable[[str], bytes]:
    """A stored picture of one colour."""

    def paint(colour: str, size: tuple[int, int] = (64, 48)) -> bytes:
        file = BytesIO()
        Image.new("RGB", size, colour).save(file, "PNG")
        return file.getvalue()

    return paint


@pytest.fixture(scope="session")
def release_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for releases."""
    return tmp_path_factory.mktemp("releases")
