from xml.etree import ElementTree

from assay.tuning.encoder_card import curve_svg

POINT = {"plain-en-top1": 0.1, "plain-en-top5": 0.3, "scenes-en-top1": 0.05, "plain-zh-top1": 0.08}


def test_the_curve_is_drawn_over_scenes() -> None:
    svg = curve_svg([{"scenes": 100, **POINT}, {"scenes": 200, **dict.fromkeys(POINT, 0.5)}])
    lines = [node for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("polyline")]
    assert len(lines) == 4
    first, last = lines[0].attrib["points"].split()
    assert float(first.split(",")[0]) < float(last.split(",")[0])
    assert float(first.split(",")[1]) > float(last.split(",")[1]), "better is higher"


def test_a_curve_without_points_is_still_a_picture() -> None:
    ElementTree.fromstring(curve_svg([]))
