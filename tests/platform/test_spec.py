import pytest
from pydantic import Field, ValidationError

from assay.platform.spec import Spec


class Inner(Spec):
    depth: int = 3


class Outer(Spec):
    source: str = Field(kw_only=False)
    name: str = "x"
    inner: Inner = Inner()


def test_a_spec_is_frozen() -> None:
    spec = Outer(source="s")
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "y"  # type: ignore[misc]  # what is tested
    assert spec.model_copy(update={"name": "y"}).name == "y"
    assert spec.name == "x"


def test_an_unknown_field_is_refused_at_any_depth() -> None:
    with pytest.raises(ValidationError, match="depht"):
        Outer.model_validate({"source": "s", "inner": {"depht": 4}})


def test_fields_are_flags_unless_they_say_otherwise() -> None:
    assert {name: field.kw_only for name, field in Outer.model_fields.items()} == {
        "source": False,
        "name": True,
        "inner": True,
    }
