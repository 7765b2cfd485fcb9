"""What every Spec is: frozen, strict about unknown fields, named on the command line.

Knows how configuration is held, not what is configured. YAML, environment and flags only fill Specs.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Configuration of one thing, beside the function that takes it. Derive with `model_copy(update=…)`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __pydantic_init_subclass__(cls, **_kwargs: Any) -> None:
        # On the command line a field is a flag; only what says kw_only=False may also stand without its name.
        for field in cls.model_fields.values():
            if field.kw_only is None:
                field.kw_only = True
