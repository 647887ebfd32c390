"""The page on a video: what it says, that it is safe and whole, and how a browser shows it."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import cv2
import html5lib
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from streamwatch.cli.main import app
from streamwatch.cli.report import _reasoner as reasoner_of
from streamwatch.config import Settings
from streamwatch.detectors import load_detector
from streamwatch.detectors.statistics.detector import StatisticsDetector
from streamwatch.detectors.statistics.weights import save_statistics
from streamwatch.errors import ConfigError, SourceNotFound, StoreError
from streamwatch.pipeline.analyser import Analyser
from streamwatch.pipeline.plan import Plan
from streamwatch.pipeline.scoring import LocalClient
from streamwatch.provenance import Provenance, ProvenanceState
from streamwatch.records import (
    AlertKind,
    DropReason,
    Evidence,
    FaceQuality,
    Failure,
    FrameCounts,
    FrameRecord,
    ImageArray,
    Label,
    MaskCoverage,
    Span,
    TrackVerdict,
    VideoVerdict,
)
from streamwatch.report import VideoReport, check_replaceable, render, words, write_page
from streamwatch.report.faces import FAKES, TRACKS, galleries
from streamwatch.report.plot import LANES, draw
from streamwatch.sources import content_sha256
from streamwatch.store import AlertRow, Store
from streamwatch.store.states import ReviewState
from tests.support import chromium
from tests.support.builders import make_alert, make_record, make_track, make_verdict, pictured_evidence
from tests.support.face_clips import face_clip, face_picture
from tests.support.media import synthetic_video
from tests.support.small_detectors import settings_for, untrained_detector
from tests.support.statistics_models import noisy_crop, tiny_card
from tests.support.statistics_models import tiny_model as tiny_statistics

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
PLAN = Plan.resolve(Settings())
EVIL = "<script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>"
XHTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"


def a_face(frame: int, score: float, *, mask: bool = True) -> Evidence:
    crop = np.asarray(cv2.resize(face_picture(frame), (96, 96)), np.uint8)
    seen = np.zeros((24, 24), np.uint8)
    seen[6:18, 6:18] = 255
    coverage = MaskCoverage(0.15, 0.38, 0.0, 0.1, 0.9, 0.2, None) if mask else None
    return pictured_evidence(crop, seen if mask else None, frame, score=score, coverage=coverage)


def a_score(track: int, pts: float, probability: float, *, side: float = 100.0, sharpness: float = 80.0) -> FrameRecord:
    quality = FaceQuality(side, sharpness, 0.1, 1.0)
    box = (0.0, 0.0, side, side)
    return make_record(round(pts * 25), track_id=track, pts=pts, box=box, probability=probability, quality=quality)


def a_verdict(**changes: object) -> VideoVerdict:
    """Fake: track 1 is forged from 4 to 7 s and not seen from 8 to 10 s; track 2 is real, with one small face."""
    first = [a_score(1, t / 2, 0.97 if 8 <= t <= 14 else 0.3) for t in range(25) if not 16 < t < 20]
    second = [a_score(2, t / 2, 0.1, side=30.0 if t == 5 else 100.0) for t in range(4, 12)]
    track_1 = make_track(
        end=12.0,
        score=0.97,
        faces=22,
        spans=(Span(4.0, 7.0, 0.98, 0.97),),
        evidence=(a_face(100, 0.99), a_face(125, 0.98), a_face(150, 0.97)),
        reason="forged span",
    )
    track_2 = TrackVerdict(2, 2.0, 5.5, Label.REAL, 0.1, 7, evidence=(a_face(60, 0.2, mask=False),))
    alert = make_alert("3f2a11bb-0000", start=4.0, end=7.0, peak=0.98, mean=0.97, evidence=(a_face(160, 0.96),))
    values: dict[str, Any] = {
        "score": 0.97,
        "duration": 12.5,
        "frames": FrameCounts(312, 25, 25, 0, 3),
        "tracks": (track_1, track_2),
        "alerts": (alert,),
        "policy": PLAN.policy.name,
        "reason": "forged span",
        "scores": tuple(sorted([*first, *second], key=lambda record: (record.pts, record.track_id))),
    }
    return make_verdict(**{**values, **changes})


def nothing(label: Label, **changes: object) -> VideoVerdict:
    values: dict[str, Any] = {"tracks": (), "alerts": (), "scores": (), "score": None, "reason": ""}
    return a_verdict(label=label, **{**values, **changes})


def of_label(label: Label) -> VideoVerdict:
    """A verdict with this label, as the engine gives it."""
    if label is Label.NO_FACE:
        return nothing(label, reason="no face was found")
    if label is Label.ERROR:
        counts = FrameCounts(100, 20, 12, 8, 1, {DropReason.FAILED: 8})
        return nothing(label, failure=Failure("SourceTimeout", "clip.mp4: nothing came within 10 s"), frames=counts)
    return a_verdict(label=label, score={Label.FAKE: 0.97, Label.REAL: 0.1, Label.INCONCLUSIVE: 0.7}[label])


def a_report(verdict: VideoVerdict | None = None, **changes: object) -> VideoReport:
    values: dict[str, Any] = {
        "verdict": verdict or a_verdict(),
        "settings": PLAN.settings,
        "card": PLAN.card,
        "card_sha256": "d" * 64,
        "policy": PLAN.policy,
        "provenance": Provenance(ProvenanceState.NONE),
        "reviews": {},
        "analysed_at": NOON,
        "written_at": NOON,
        "version": "9.9",
    }
    return VideoReport(**{**values, **changes})


def a_review(comment: str) -> AlertRow:
    return AlertRow(
        "3f2a11bb-0000", 1, "clip.mp4", AlertKind.FORGERY, "", 1, 4.0, 7.0, None, None, 0.98, 0.97, 7, Label.FAKE, 1,
        NOON, ReviewState.REVIEWED, Label.FAKE, comment, NOON,
    )  # fmt: skip


def parsed(page: str) -> Element:
    """The page's tree; a single error of HTML's grammar is raised."""
    parser = html5lib.HTMLParser(strict=True)
    tree: Element = parser.parse(page)
    return tree


def text_of(element: Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


def decoded(url: str) -> ImageArray:
    """The picture of a data URL, BGR."""
    jpeg = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    return np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)


def said(page: str) -> str:
    body = parsed(page).find(f"{XHTML}body")
    assert body is not None
    return text_of(body)


# ── the page as a file ──


@pytest.mark.parametrize("label", list(Label))
def test_every_label_gives_a_page_without_an_error_that_needs_nothing_else(label: Label) -> None:
    page = render(a_report(of_label(label)))
    tree = parsed(page)
    for element in tree.iter():
        assert element.tag != f"{XHTML}script"
        for name, value in element.attrib.items():
            assert not name.startswith("on"), f"{name} is a script"
            if name in ("src", "href", "srcset", "action", "data"):
                assert value.startswith("data:")
    assert "@import" not in page
    assert "url(" not in page
    first = tree.find(f".//{XHTML}h2")
    assert first is not None
    assert text_of(first) == words.HEADLINES[label], "the verdict comes first"


def test_what_files_and_people_say_is_shown_as_text() -> None:
    verdict = nothing(Label.ERROR, source=f"/in/{EVIL}", failure=Failure("SourceError", EVIL), reason=EVIL)
    expected = Provenance(ProvenanceState.INVALID, "", EVIL, EVIL, EVIL, EVIL, (EVIL,), 1, (EVIL,))
    pages = [
        render(a_report(verdict, provenance=expected)),
        render(a_report(a_verdict(source=EVIL), reviews={"3f2a11bb-0000": a_review(EVIL)})),
    ]
    for page in pages:
        tree = parsed(page)
        assert tree.find(f".//{XHTML}script") is None
        assert all(image.attrib["src"].startswith("data:") for image in tree.iter(f"{XHTML}img"))
        assert EVIL.removeprefix("<script>") in said(page)


def test_a_name_that_utf8_cannot_hold_is_written_all_the_same(tmp_path: Path) -> None:
    write_page(a_report(a_verdict(source="/in/caf\udce9.mp4")), tmp_path / "page.html")
    assert "caf?.mp4" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_only_an_earlier_page_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(a_report(of_label(Label.REAL)), path)
    write_page(a_report(), path)
    assert "Looks forged" in path.read_text(encoding="utf-8")
    path.write_text("<html>my own work</html>", encoding="utf-8")
    with pytest.raises(ConfigError, match="no page of `streamwatch report`; name another place with --html"):
        write_page(a_report(), path)
    assert path.read_text(encoding="utf-8") == "<html>my own work</html>"
    with pytest.raises(ConfigError, match="exists"):
        check_replaceable(tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["page.html"]


def test_a_damaged_picture_is_an_error_that_names_its_track() -> None:
    broken = dataclasses.replace(a_face(100, 0.9), crop_jpeg=b"no picture")
    track = dataclasses.replace(a_verdict().tracks[0], evidence=(broken,))
    with pytest.raises(StoreError, match=r"/archive/clip\.mp4, track 1: a stored picture is damaged"):
        render(a_report(a_verdict(tracks=(track,))))


# ── what it says ──


def test_a_fake_says_when_why_and_how_far_to_trust_it() -> None:
    text = said(render(a_report()))
    assert "verdict fake : forged span 0.97" in text
    assert "Looks forged at 0:04.0–0:07.0 (track 1)" in text
    assert "not proof" in text
    card = PLAN.card.metrics
    assert f"it calls {100 * card['unseen_blends_called_real']:.0f} % real" in text
    assert f"finds {100 * card['val_tpr_at_1_percent_fpr']:.0f} % of forged faces" in text
    assert "recognises “region” worst (AUC 0.70)" in text, "the least of held_back_*_auc"
    assert "research use only" in text


def test_figures_are_the_cards_and_a_card_without_says_so() -> None:
    other = dataclasses.replace(PLAN.card, metrics={"held_back_swap_auc": 0.61, "held_back_hull_auc": 0.9})
    assert words.weaknesses(other)[0].endswith("it recognises “swap” worst (AUC 0.61).")
    bare = dataclasses.replace(PLAN.card, metrics={})
    assert "is not known" in words.weaknesses(bare)[0]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (Label.REAL, "It is no proof of authenticity"),
        (Label.INCONCLUSIVE, "Nothing is said for or against the video"),
        (Label.NO_FACE, "That does not make the video real"),
        (Label.ERROR, "There is no verdict: an error ended the analysis"),
    ],
)
def test_other_labels_do_not_promise_too_much(label: Label, expected: str) -> None:
    assert expected in said(render(a_report(of_label(label))))


def test_a_model_measured_on_web_clips_is_told_by_them() -> None:
    card = dataclasses.replace(PLAN.card, metrics={"auc": 0.739, "auc_matched": 0.685})
    text = said(render(a_report(card=card)))
    assert "with AUC 0.74, and with 0.69 where size and bit rate of the files do not help it" in text
    assert "no figures" not in text


def test_an_error_has_its_type_its_message_and_what_was_reached() -> None:
    page = render(a_report(of_label(Label.ERROR), analysed_at=None))
    text = said(page)
    assert "SourceTimeout clip.mp4: nothing came within 10 s" in text
    assert "dropped: failed 8 an error ended the analysis before" in text
    assert "analysed not completed" in text
    assert "Score over time" not in text


def test_every_frame_and_face_is_accounted_for() -> None:
    verdict = a_verdict(
        scores=(
            a_score(1, 0.0, 0.5),
            a_score(1, 0.5, 0.5, side=47.0),
            a_score(1, 1.0, 0.5, sharpness=1.0),
            a_score(2, 1.0, 0.5),
        )
    )
    report = a_report(verdict)
    frames = {name: number for name, number, _ in words.frame_counts(report)}
    assert frames == {"decoded": 312, "not sampled": 287, "sampled": 25, "analysed": 25, "dropped": 0, "corrupt": 3}
    assert ("analysed", 25, "22 of them without a face") in words.frame_counts(report)
    faces = {name: number for name, number, _ in words.face_counts(report)}
    assert faces == {"scored": 4, "usable": 2, "too small": 1, "too blurred": 1, "too turned": 0}


def test_digests_model_policy_and_times_are_shown() -> None:
    text = said(render(a_report(analysed_at=datetime(2026, 2, 28, 9, 30, tzinfo=timezone.utc))))
    for part in ("f" * 64, "a" * 64, "c" * 64, "d" * 64, PLAN.policy.name, "streamwatch 9.9"):
        assert part in text
    assert "analysed 2026-02-28 09:30:00 UTC" in text


def test_pictures_are_the_strongest_of_each_track_with_their_masks() -> None:
    tree = parsed(render(a_report()))
    captions = [text_of(item) for item in tree.iter(f"{XHTML}figcaption")]
    assert [caption.split()[0] for caption in captions] == ["0:04.0", "0:05.0", "0:06.0", "0:06.4", "0:02.4"]
    assert "mask covers 38 % of the face, most of all the mouth" in captions[0]
    images = [image.attrib["src"] for image in tree.iter(f"{XHTML}img")]
    assert len(images) == 9, "the last face has no mask"
    face, masked = (decoded(url) for url in images[:2])
    assert face.shape == masked.shape == (96, 96, 3)
    redder = masked[48, 48].astype(int) - face[48, 48]
    assert redder[2] > redder[0] + 20, "BGR: the middle is tinted"


def test_a_detector_that_gives_reasons_is_asked_about_the_strongest_face_of_each_track() -> None:
    crop = noisy_crop(smooth=True)
    jpeg = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    faces = [dataclasses.replace(a_face(frame, 0.9 - frame / 100), crop_jpeg=jpeg) for frame in (1, 2)]
    first, second = (
        TrackVerdict(number, 0.0, 1.0, Label.REAL, 0.9, 2, evidence=tuple(evidence))
        for number, evidence in ((1, faces), (2, [a_face(3, 0.5)]))
    )
    verdict = a_verdict(tracks=(first, second), alerts=())
    reasoner = StatisticsDetector(tiny_statistics(), tiny_card())
    tree = parsed(render(a_report(verdict, reasoner=reasoner)))
    captions = [text_of(item) for item in tree.iter(f"{XHTML}figcaption")]
    expected = "compared with its surroundings, the face has"
    assert [expected in caption for caption in captions] == [True, False, False], "the last crop is of another size"
    assert re.search(r"The stored face, a JPEG, scored again: 0\.\d\d ?\. What moved that score: \+\d", captions[0])
    assert expected not in said(render(a_report(verdict)))


def test_a_persons_review_stands_by_the_alert() -> None:
    assert "nobody yet" in said(render(a_report()))
    text = said(render(a_report(reviews={"3f2a11bb-0000": a_review("seen it in Paris")})))
    assert "fake: seen it in Paris (2026-03-01 12:00:00 UTC)" in text


@pytest.mark.parametrize("state", list(ProvenanceState))
def test_the_manifest_is_told_beside_the_verdict(state: ProvenanceState) -> None:
    expected = Provenance(state, signer="Camera 7", generator="editor 1.2", actions=("c2pa.edited",), ingredients=2)
    text = said(render(a_report(provenance=expected)))
    summarised = state in (ProvenanceState.TRUSTED, ProvenanceState.VALID, ProvenanceState.INVALID)
    assert ("signer Camera 7" in text) is summarised
    assert ("ingredients 2" in text) is summarised
    assert ("no evidence of anything" in text) is not summarised


# ── the plot ──


def test_lines_break_where_a_face_was_not_seen() -> None:
    plot = draw(a_verdict(), PLAN.policy, 1000)
    assert plot is not None
    first, second = plot.lines[1].path, plot.lines[0].path
    assert first.count("M") == 2
    assert second.count("M") == 1
    assert len(re.findall(r"[ML]", second)) == 7, "the small face is not in the line"
    assert plot.ignored.count("M") == 1
    assert [len(lane.seen) for lane in plot.lanes] == [2, 1]


def test_places_are_those_of_the_times_and_scores() -> None:
    plot = draw(a_verdict(), PLAN.policy, 1000)
    assert plot is not None
    wide, tall = plot.right - plot.left, plot.bottom - plot.top
    assert plot.fake.at == pytest.approx(plot.bottom - PLAN.policy.fake * tall, abs=0.1)
    assert plot.real.at == pytest.approx(plot.bottom - PLAN.policy.real * tall, abs=0.1)
    (band,) = plot.forged
    assert band.x == pytest.approx(plot.left + 4 / 12.5 * wide, abs=0.1)
    assert band.width == pytest.approx(3 / 12.5 * wide, abs=0.2)
    assert [tick.text for tick in plot.times][:3] == ["0:00", "0:02", "0:04"]
    assert plot.times[-1].at <= plot.right


def test_a_face_alone_is_a_dot() -> None:
    plot = draw(a_verdict(scores=(a_score(1, 3.0, 0.5),), tracks=a_verdict().tracks[:1]), PLAN.policy, 1000)
    assert plot is not None
    assert re.fullmatch(r"M[\d.]+ [\d.]+h0", plot.lines[0].path)


def test_hours_of_scores_stay_small_and_keep_their_peaks() -> None:
    count = 14_400
    scores = tuple(a_score(1, n / 2, 0.999 if n == 7001 else 0.2 + 0.1 * (n % 2)) for n in range(count))
    long = a_verdict(scores=scores, duration=count / 2, frames=FrameCounts(10 * count, count, count))
    plot = draw(long, PLAN.policy, 1000)
    assert plot is not None
    path = plot.lines[-1].path
    assert len(path) < 40_000
    assert f" {plot.bottom - 0.999 * (plot.bottom - plot.top):.1f}" in path
    assert plot.times[-1].text == "2:00:00"


def test_a_crowd_has_the_strongest_in_colour_and_the_rest_in_grey() -> None:
    tracks = tuple(TrackVerdict(n, 0.0, 1.0, Label.REAL, n / 100, 4) for n in range(1, 31))
    scores = tuple(a_score(n, t, n / 100) for t in (0.0, 0.5, 1.0) for n in range(1, 31))
    page = render(a_report(a_verdict(tracks=tracks, scores=scores, alerts=(), label=Label.REAL, score=0.3)))
    plot = draw(a_verdict(tracks=tracks, scores=scores), PLAN.policy, 1000)
    assert plot is not None
    assert [lane.name for lane in plot.lanes][:3] == ["30", "29", "28"]
    assert len(plot.lanes) == LANES
    assert plot.more == 30 - LANES
    assert sum(line.style == "track-other" for line in plot.lines) == 24
    assert "24 other tracks" in said(page)


def test_pictures_are_of_the_strongest_tracks_and_of_more_if_they_are_fake() -> None:
    def shown(label: Label) -> int:
        tracks = tuple(TrackVerdict(n, 0.0, 1.0, label, n / 100, 4, evidence=(a_face(n, 0.5),)) for n in range(1, 31))
        return len(galleries(a_verdict(tracks=tracks, alerts=()), PLAN.settings.decode))

    assert (shown(Label.REAL), shown(Label.FAKE)) == (TRACKS, FAKES)


def test_faces_are_dots_where_there_is_room() -> None:
    plots = [draw(a_verdict(frames=FrameCounts(5000, n, n)), PLAN.policy, 1000) for n in (25, 500)]
    assert [plot is not None and plot.lines[0].dots.count("M") for plot in plots] == [7, 0]


def test_the_plot_is_told_in_words_too() -> None:
    tree = parsed(render(a_report()))
    plots = [item for item in tree.iter(f"{SVG}svg") if "plot" in item.attrib["class"]]
    assert len(plots) == 2
    for plot in plots:
        described = plot.attrib["aria-labelledby"].split()
        title, desc = plot.find(f"{SVG}title"), plot.find(f"{SVG}desc")
        assert title is not None
        assert desc is not None
        assert [title.attrib["id"], desc.attrib["id"]] == described
        assert "Track 1, 0:00.0 to 0:12.0: fake, score 0.97. Looks forged from 0:04.0 to 0:07.0." in text_of(desc)


# ── in a browser ──


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if chromium.installed() is None:
        pytest.skip(chromium.MISSING)
    with chromium.headless() as found:
        yield found


SIZES = {"desktop": (1200, 900), "phone": (360, 740)}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", list(SIZES))
def test_a_browser_shows_it_without_a_complaint_or_a_request(
    browser: Any, tmp_path: Path, screen: str, scheme: str
) -> None:
    path = tmp_path / "clip <script>alert(1).html"
    width, height = SIZES[screen]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    for label in (Label.FAKE, Label.NO_FACE, Label.ERROR):
        write_page(a_report(of_label(label)), path)
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
        assert page.locator("h2").first.inner_text() == words.HEADLINES[label]
        if label is Label.FAKE:
            shown = page.locator("svg.plot:visible")
            assert shown.count() == 1
            assert ("narrow" in shown.get_attribute("class")) is (screen == "phone")
            boxes = [shown.bounding_box(), *(image.bounding_box() for image in page.locator("img").all())]
            assert len(boxes) == 10
            assert all(box["width"] > 50 and box["height"] > 50 for box in boxes)
            assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
            forged = page.locator("svg.plot:visible rect.forged").bounding_box()
            assert forged["width"] > 20
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 3 * 64) is (scheme == "dark")
    context.close()
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {path.as_uri()}


# ── the command ──


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_detector(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def archive(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a clip, settings and a store that has the clip's verdict, as the present folder."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'store.db'}"
    settings = settings_for(weights, store={"url": url})
    (tmp_path / "settings.yaml").write_text(
        settings.model_dump_json(include={"store", "detector", "sampling", "faces"})
    )
    clip = face_clip(tmp_path / "my <b>clip.mp4", seconds=2.0)
    plan = Plan.resolve(settings)
    analyser = Analyser(plan, LocalClient(load_detector(weights, "cpu", 1)))
    found = analyser.analyse(str(clip), sha256=content_sha256(clip)).verdict
    assert found.label is not Label.ERROR, found.failure
    with Store.open(url, clock=lambda: NOON) as store:
        store.save_verdict(store.begin_run("scan", "{}", settings.digest()), found)
    return tmp_path


def report(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["report", *arguments, "--config", "settings.yaml"])


def test_a_model_that_cannot_say_why_is_not_loaded(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = tmp_path / "smooth.safetensors"
    save_statistics(statistics, tiny_statistics(), tiny_card())
    assert isinstance(reasoner_of(statistics), StatisticsDetector)
    monkeypatch.setattr("streamwatch.detectors.load_detector", lambda *_: pytest.fail("not to be loaded"))
    assert reasoner_of(weights) is None


def test_the_stored_result_becomes_a_page_here(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamwatch.archive.pool.start_actors", lambda *_: pytest.fail("nothing is to be analysed"))
    result = report("my <b>clip.mp4")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("my <b>clip.report.html: ")
    page = (archive / "my <b>clip.report.html").read_text(encoding="utf-8")
    text = said(page)
    assert "source my <b>clip.mp4" in text
    assert "analysed 2026-03-01 12:00:00 UTC" in text
    assert content_sha256(archive / "my <b>clip.mp4") in text
    assert len(list(parsed(page).iter(f"{XHTML}img"))) >= 2, "the pictures come from the store"
    assert [item for item in parsed(page).iter(f"{SVG}path") if "track-1" in item.attrib["class"]]


def test_usable_faces_are_those_that_the_fusion_used(archive: Path, weights: Path) -> None:
    client = LocalClient(load_detector(weights, "cpu", 1))
    limit, faces = 0.0, {}
    for _ in range(2):
        plan = Plan.resolve(settings_for(weights, fusion={"min_sharpness": limit}))
        found = Analyser(plan, client).analyse(str(archive / "my <b>clip.mp4")).verdict
        faces = {name: number for name, number, _ in words.face_counts(a_report(found, policy=plan.policy))}
        assert faces["usable"] == sum(track.faces for track in found.tracks)
        limit = float(np.median([record.quality.sharpness for record in found.scores]))
    assert faces["too blurred"] == faces["scored"] // 2


def test_the_frame_is_shown_while_the_file_still_shows_the_face(archive: Path, weights: Path) -> None:
    clip = archive / "my <b>clip.mp4"
    plan = Plan.resolve(settings_for(weights))
    found = Analyser(plan, LocalClient(load_detector(weights, "cpu", 1))).analyse(str(clip)).verdict
    (gallery,) = galleries(found, plan.settings.decode)
    scene = gallery.scene
    assert scene is not None
    assert (scene.width, scene.height) == (256, 192)
    strongest = max(gallery.track.evidence, key=lambda item: item.score)
    sides = [float(side) for side in re.findall(r"[\d.]+(?=%)", scene.box)]
    x0, y0, x1, y1 = np.clip(strongest.box, 0, (256, 192, 256, 192))
    assert sides == pytest.approx([x0 / 2.56, y0 / 1.92, (x1 - x0) / 2.56, (y1 - y0) / 1.92], abs=0.01)
    picture = decoded(scene.frame)
    expected = face_picture(strongest.frame_index)
    assert np.abs(picture[..., ::-1].astype(int) - expected).mean() < 6

    synthetic_video(clip, seconds=2.0)
    assert [gallery.scene for gallery in galleries(found, plan.settings.decode)] == [None], "another picture"
    clip.unlink()
    assert [gallery.scene for gallery in galleries(found, plan.settings.decode)] == [None]


def test_a_folder_or_a_file_for_the_page(archive: Path) -> None:
    (archive / "pages").mkdir()
    assert report("my <b>clip.mp4", "--html", "pages").exit_code == 0
    assert report("my <b>clip.mp4", "--html", "pages/first.html").exit_code == 0
    assert report("my <b>clip.mp4", "--html", "new/pages/").exit_code == 0
    assert [path.name for path in (archive / "new" / "pages").iterdir()] == ["my <b>clip.report.html"]
    assert {path.name for path in (archive / "pages").iterdir()} == {"my <b>clip.report.html", "first.html"}


def test_nothing_is_begun_where_the_page_cannot_go(archive: Path) -> None:
    before = (archive / "my <b>clip.mp4").read_bytes()
    for place, message in (("my <b>clip.mp4", "no page of"), ("missing/page.html", "there is no such folder")):
        result = report("my <b>clip.mp4", "--html", place)
        assert isinstance(result.exception, ConfigError)
        assert message in str(result.exception)
    assert (archive / "my <b>clip.mp4").read_bytes() == before
    with Store.open(f"sqlite:///{archive / 'store.db'}") as store:
        assert store.jobs.jobs() == []


def test_one_file_only(archive: Path) -> None:
    synthetic_video(archive / "other.mp4", seconds=0.2)
    result = report(str(archive))
    assert result.exit_code == 2
    assert "names 2 videos" in result.output
    assert isinstance(report("missing.mp4").exception, SourceNotFound)
