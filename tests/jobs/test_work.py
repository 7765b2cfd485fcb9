from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.work import Failure, Receipt, Task, Work, WrittenFile
from assay.platform import errors
from assay.platform.errors import AssayError, CredentialsError
from assay.platform.rows import ImageRef

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
REFS = st.builds(ImageRef, uri=NAMES, etag=NAMES, size=st.integers(0, 2**62))
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AssayError)]


@settings(derandomize=True, max_examples=100)
@given(st.integers(0, 2**62), st.sampled_from(Task), st.lists(REFS, max_size=4), NAMES)
def test_work_travels_as_one_row(shard: int, task: Task, refs: list[ImageRef], observed: str) -> None:
    work = Work(shard=shard, task=task, rows=len(refs), refs=tuple(refs), observed=(observed,))
    row = work.row()
    assert row.num_rows == 1
    assert row["shard"].to_pylist() == [shard]
    back = Work.model_validate_json(row["work"][0].as_py())
    assert back == work
    assert all(isinstance(ref, ImageRef) for ref in back.refs)


def test_a_receipt_travels_as_one_row() -> None:
    receipt = Receipt(
        shard=3,
        task=Task.RETRY,
        rows=2,
        observed=WrittenFile(path="data/x", size=9, first_uri="a", last_uri="b\n"),
        outcomes=Counter({"ok": 1, "GONE": 1}),
        flagged=Counter({"<b>": 2}),
        fetched=1,
        seconds={"look": 0.5},
        worker={"node": "n"},
        notes=("slow here",),
        failure=Failure(kind="StorageError", what="x"),
    )
    row = receipt.row()
    assert row.num_rows == 1
    back = Receipt.model_validate_json(row["receipt"][0].as_py())
    assert back == receipt
    assert back.outcomes["never seen"] == 0  # still a Counter


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_rebuilt_as_what_it_was(kind: type[AssayError]) -> None:
    error = kind("what", where="s3://b/ü\n", why="<why>", fix="fix")
    back = Failure.model_validate_json(Failure.of(error).model_dump_json()).error()
    assert type(back) is kind
    assert str(back) == str(error)
    assert back.exit_code == error.exit_code


def test_an_error_nobody_knows_is_still_an_error() -> None:
    back = Failure(kind="NewerError", what="of a newer worker").error()
    assert type(back) is AssayError
    assert back.what == "of a newer worker"


def test_a_failed_receipt_says_so() -> None:
    failure = Failure.of(CredentialsError("expired", fix="sign in"))
    receipt = Receipt.model_validate_json(
        Receipt(shard=1, task=Task.OBSERVE, rows=0, failure=failure).model_dump_json()
    )
    assert receipt.failure is not None
    assert isinstance(receipt.failure.error(), CredentialsError)
    assert receipt.observed is receipt.judged is None
