import io

from rich.console import Console, RenderableType

from assay.jobs.library_page import diff_page, shown, tree
from assay.platform.library import SemanticLibrary
from assay.platform.library_diff import compare
from tests.platform.clean_library import CLEAN


def printed(page: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=200).print(page)
    return out.getvalue()


def test_child_labels_stand_under_their_parents_and_nothing_is_lost() -> None:
    library = SemanticLibrary.load(CLEAN)
    page = printed(tree(shown(library)))
    assert page.index("weapons") < page.index("crossbow") < page.index("firearms") < page.index("musket")
    for shelf in library.categories.values():
        for label, body in shelf.labels.items():
            assert page.count(f" {label}  ") == 1
            assert all(page.count(f" {concept}  ") == 1 for concept in body.concepts)


def test_labels_that_come_and_go_are_told() -> None:
    before = SemanticLibrary.load(CLEAN)
    after = SemanticLibrary.load(CLEAN.replace("status: draft", "status: active"))
    assert "scored now: tobacco" in printed(diff_page(compare(before, after)))
    assert "scored no more: tobacco" in printed(diff_page(compare(after, before)))
