"""A part of a release that was measured, not written by hand: one JSON file, the same bytes for the same content.

Knows how it is read and written. Does not know what was measured (`calibration.py`, `promise.py`).
"""

import json
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ValidationError

from assay.platform.errors import ReleaseError


class MeasuredFile(BaseModel, frozen=True, extra="forbid"):
    """What such a file holds."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it.

        Raises:
            ReleaseError: it is not there, or not understood.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            what, fix = f"{path.name} cannot be read", "build or calibrate the release again"
            raise ReleaseError(what, where=str(path), why=str(error), fix=fix) from error

    def text(self) -> str:
        """As the file has it."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
