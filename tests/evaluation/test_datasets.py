"""The layouts of the data sets: polarity, official splits, methods, groups, and what is said where something lacks."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from streamwatch.errors import ConfigError, SourceNotFound
from streamwatch.evaluation.datasets.catalogue import LAYOUTS, detect, list_clips
from streamwatch.evaluation.datasets.clip import ClipSelection, Kind, LabelledClip, balanced_subset


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def clips_of(root: Path, kind: Kind = "auto", **wanted: Any) -> list[LabelledClip]:
    return list_clips(root, kind, ClipSelection(**wanted))[1]


def labels(clips: Iterable[LabelledClip]) -> dict[str, bool]:
    return {clip.name: clip.fake for clip in clips}


@pytest.fixture
def ffpp(tmp_path: Path) -> Path:
    for method in ("Deepfakes", "FaceShifter"):
        for name in ("000_003", "003_000", "001_870"):
            put(tmp_path, f"manipulated_sequences/{method}/c23/videos/{name}.mp4")
    put(tmp_path, "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4")
    put(tmp_path, "manipulated_sequences/Deepfakes/c0/videos/000_003.mp4")
    put(tmp_path, "manipulated_sequences/Deepfakes/c0/videos/003_000.mp4")
    for name in ("000", "001", "003", "870"):
        put(tmp_path, f"original_sequences/youtube/c23/videos/{name}.mp4")
        put(tmp_path, f"original_sequences/youtube/raw/videos/{name}.mp4")
    write(tmp_path / "splits" / "test.json", [["000", "003"]])
    write(tmp_path / "splits" / "train.json", [["001", "870"]])
    return tmp_path


def test_ffpp_takes_both_directions_of_each_pair_and_both_originals(ffpp: Path) -> None:
    assert detect(ffpp) == "ffpp"
    clips = clips_of(ffpp)
    reals = [clip for clip in clips if not clip.fake]
    fakes = [clip for clip in clips if clip.fake]
    assert [clip.group for clip in reals] == ["000", "003"]
    assert [(clip.method, clip.paths[0].name, clip.group) for clip in fakes] == [
        ("Deepfakes", "000_003.mp4", "000"),
        ("Deepfakes", "003_000.mp4", "003"),
        ("FaceShifter", "000_003.mp4", "000"),
        ("FaceShifter", "003_000.mp4", "003"),
    ]
    assert [clip.mask is not None for clip in fakes] == [True, False, False, False]


def test_ffpp_method_and_compression(ffpp: Path) -> None:
    clips = clips_of(ffpp, methods=("deepfakes",), compression="raw")
    assert {clip.method for clip in clips if clip.fake} == {"Deepfakes"}
    assert sorted({clip.paths[0].parts[-3] for clip in clips}) == ["c0", "raw"]


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        ({"compression": "c40"}, SourceNotFound, "c40.*--compression"),
        ({"compression": "best"}, ConfigError, "raw, c23 or c40"),
        ({"split": "holdout"}, ConfigError, "train, val, test"),
        ({"split": "val"}, SourceNotFound, r"val\.json.*ondyari"),
        ({"split": "train"}, SourceNotFound, r"870_001\.mp4: listed but missing \(2 of 6 files\)"),
        ({"methods": ("NeuralTextures",)}, SourceNotFound, "NeuralTextures.*complete the download"),
        ({"methods": ("FSGAN",)}, ConfigError, "FSGAN.*Deepfakes"),
    ],
)
def test_ffpp_says_what_is_missing(ffpp: Path, wanted: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        clips_of(ffpp, **wanted)


def test_ffpp_split_that_is_no_list_of_pairs(ffpp: Path) -> None:
    write(ffpp / "splits" / "test.json", {"000": "003"})
    with pytest.raises(ConfigError, match="list of pairs"):
        clips_of(ffpp)
    write(ffpp / "splits" / "test.json", "[")
    with pytest.raises(ConfigError, match="not valid JSON"):
        clips_of(ffpp)


@pytest.fixture
def celebdf(tmp_path: Path) -> Path:
    put(tmp_path, "Celeb-real/id0_0001.mp4", "Celeb-real/id1_0004.mp4", "YouTube-real/00170.mp4")
    put(tmp_path, "Celeb-synthesis/id0_id1_0001.mp4", "Celeb-synthesis/id1_id0_0004.mp4")
    tested = "1 YouTube-real/00170.mp4\n1 Celeb-real/id0_0001.mp4\n0 Celeb-synthesis/id0_id1_0001.mp4\n"
    write(tmp_path / "List_of_testing_videos.txt", tested)
    return tmp_path


def test_celebdf_one_means_real_in_its_list(celebdf: Path) -> None:
    assert detect(celebdf) == "celebdf"
    clips = clips_of(celebdf)
    assert labels(clips) == {
        "YouTube-real/00170.mp4": False,
        "Celeb-real/id0_0001.mp4": False,
        "Celeb-synthesis/id0_id1_0001.mp4": True,
    }
    assert {clip.group for clip in clips} == {"00170", "id0_0001"}
    assert labels(clips_of(celebdf, split="train")) == {
        "Celeb-real/id1_0004.mp4": False,
        "Celeb-synthesis/id1_id0_0004.mp4": True,
    }


def test_celebdf_refuses_a_list_with_the_polarity_turned(celebdf: Path) -> None:
    write(celebdf / "List_of_testing_videos.txt", "1 Celeb-synthesis/id0_id1_0001.mp4\n")
    with pytest.raises(ConfigError, match=r"List_of_testing_videos\.txt, line 1"):
        clips_of(celebdf)


def test_celebdf_needs_its_list_and_its_files(celebdf: Path) -> None:
    (celebdf / "YouTube-real" / "00170.mp4").unlink()
    with pytest.raises(SourceNotFound, match=r"00170\.mp4: listed but missing"):
        clips_of(celebdf)
    (celebdf / "List_of_testing_videos.txt").unlink()
    with pytest.raises(SourceNotFound, match="official download"):
        clips_of(celebdf)


def test_dfdc_parts_and_test_labels(tmp_path: Path) -> None:
    put(tmp_path, "dfdc_train_part_0/a.mp4", "dfdc_train_part_0/b.mp4", "test/c.mp4", "test/d.mp4")
    entries = {"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}, "b.mp4": {"label": "REAL"}}
    write(tmp_path / "dfdc_train_part_0" / "metadata.json", entries)
    write(tmp_path / "test" / "labels.csv", "filename,label\nc.mp4,1\nd.mp4,0\n")
    assert detect(tmp_path) == "dfdc"
    train = clips_of(tmp_path, split="train")
    assert labels(train) == {"dfdc_train_part_0/a.mp4": True, "dfdc_train_part_0/b.mp4": False}
    assert {clip.group for clip in train} == {"b.mp4"}
    assert labels(clips_of(tmp_path)) == {"test/c.mp4": True, "test/d.mp4": False}
    with pytest.raises(ConfigError, match="its splits: test, train"):
        clips_of(tmp_path, split="val")


@pytest.mark.parametrize(
    ("content", "said"),
    [({"a.mp4": {"label": "MAYBE"}}, "neither real nor fake"), (["a.mp4"], "must map")],
)
def test_dfdc_bad_metadata(tmp_path: Path, content: object, said: str) -> None:
    write(tmp_path / "metadata.json", content)
    with pytest.raises(ConfigError, match=said):
        clips_of(tmp_path, split="train")


def test_dfdc_bad_labels(tmp_path: Path) -> None:
    write(tmp_path / "labels.csv", "filename,label\nc.mp4,fake\n")
    with pytest.raises(ConfigError, match=r"line 2.*neither 0 nor 1"):
        clips_of(tmp_path)
    write(tmp_path / "labels.csv", "name,label\n")
    with pytest.raises(ConfigError, match="columns filename, label"):
        clips_of(tmp_path)
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(SourceNotFound, match="dfdc_train_part_"):
        clips_of(tmp_path, "dfdc")


def test_dfdc_preview(tmp_path: Path) -> None:
    fake, real = "method_A/1/1_A/2_1_A_001.mp4", "original_videos/1/1_A_001.mp4"
    put(tmp_path, fake, real)
    entries = {
        fake: {"label": "fake", "set": "test", "target_id": "1", "swapped_id": "2"},
        real: {"label": "real", "set": "test", "target_id": "1", "swapped_id": None},
        "method_B/9/x.mp4": {"label": "fake", "set": "train", "target_id": "9"},
    }
    write(tmp_path / "dataset.json", entries)
    assert detect(tmp_path) == "dfdc-preview"
    clips = clips_of(tmp_path)
    assert labels(clips) == {fake: True, real: False}
    assert [(clip.method, clip.group) for clip in clips] == [("method_A", "1"), ("", "1")]


@pytest.fixture
def deeperforensics(tmp_path: Path) -> Path:
    put(tmp_path, "manipulated_videos/end_to_end/000_M101.mp4", "manipulated_videos/end_to_end_level_1/000_M101.mp4")
    put(tmp_path, "source_videos/M101/BlendShape/camera_front/M101_BlendShape_camera_front.mp4")
    write(tmp_path / "lists" / "splits" / "test.txt", "000_M101.mp4\n")
    return tmp_path


def test_deeperforensics_real_part_is_faceforensics(deeperforensics: Path) -> None:
    assert detect(deeperforensics) == "deeperforensics"
    assert labels(clips_of(deeperforensics)) == {"manipulated_videos/end_to_end/000_M101.mp4": True}
    put(deeperforensics, "original_sequences/youtube/c23/videos/000.mp4")
    clips = clips_of(deeperforensics, methods=("end_to_end_level_1",))
    assert labels(clips) == {
        "manipulated_videos/end_to_end_level_1/000_M101.mp4": True,
        "original_sequences/youtube/c23/videos/000.mp4": False,
    }
    assert {clip.group for clip in clips} == {"000"}


def test_deeperforensics_says_what_is_missing(deeperforensics: Path) -> None:
    with pytest.raises(SourceNotFound, match="no such variant"):
        clips_of(deeperforensics, methods=("end_to_end_level_9",))
    with pytest.raises(SourceNotFound, match=r"val\.txt.*lists"):
        clips_of(deeperforensics, split="val")
    with pytest.raises(ConfigError, match="train, val, test"):
        clips_of(deeperforensics, split="all")


def test_wilddeepfake_is_sequences_grouped_by_archive(tmp_path: Path) -> None:
    put(tmp_path, *(f"fake_test/85/fake/102/{n}.png" for n in (0, 2, 10)), "fake_test/85/fake/103/1.png")
    put(tmp_path, "real_test/7/real/0/5.png", "fake_train/1/fake/0/1.png")
    assert detect(tmp_path) == "wilddeepfake"
    clips = {clip.name: clip for clip in clips_of(tmp_path)}
    assert {name: clip.fake for name, clip in clips.items()} == {
        "fake_test/85/fake/102": True,
        "fake_test/85/fake/103": True,
        "real_test/7/real/0": False,
    }
    assert [path.stem for path in clips["fake_test/85/fake/102"].paths] == ["0", "2", "10"]
    assert clips["fake_test/85/fake/102"].group == clips["fake_test/85/fake/103"].group == "fake_test/85"
    with pytest.raises(ConfigError, match="its splits: test, train"):
        clips_of(tmp_path, split="val")


def test_wilddeepfake_must_be_unpacked(tmp_path: Path) -> None:
    put(tmp_path, "real_test/7.tar.gz")
    with pytest.raises(SourceNotFound, match="unpack"):
        clips_of(tmp_path)


def test_df40_sequences_pictures_and_real_part(tmp_path: Path) -> None:
    put(tmp_path, "simswap/ff/frames/000_003/000.png", "simswap/ff/frames/000_003/001.png")
    put(tmp_path, "simswap/ff/landmarks/000_003/000.png", "MidJourney/fake/a.png", "MidJourney/real/b.png")
    put(tmp_path, "real/ff/000/000.png", "real/ff/000/001.png")
    assert detect(tmp_path) == "df40"
    clips = {clip.name: clip for clip in clips_of(tmp_path)}
    assert {name: (clip.fake, clip.method, len(clip.paths)) for name, clip in clips.items()} == {
        "simswap/ff/frames/000_003": (True, "simswap", 2),
        "MidJourney/fake/a.png": (True, "MidJourney", 1),
        "MidJourney/real/b.png": (False, "", 1),
        "real/ff/000": (False, "", 2),
    }
    chosen = clips_of(tmp_path, methods=("SimSwap",))
    assert {clip.method for clip in chosen if clip.fake} == {"simswap"}
    with pytest.raises(ConfigError, match="MidJourney, simswap"):
        clips_of(tmp_path, methods=("e4s",))


def test_df40_splits_share_the_real_part(tmp_path: Path) -> None:
    put(tmp_path, "test/simswap/cdf/frames/id0_0000/000.png", "train/simswap/ff/frames/1/000.png", "real/ff/000/0.png")
    assert labels(clips_of(tmp_path)) == {"test/simswap/cdf/frames/id0_0000": True, "real/ff/000": False}


def test_folder_of_ones_own(tmp_path: Path) -> None:
    put(tmp_path, "real/a.mp4", "real/notes.txt", "fake/a.mp4", "fake/lip/b.mkv", "real/c.JPG")
    assert detect(tmp_path) == "folder"
    clips = {clip.name: clip for clip in clips_of(tmp_path)}
    assert {name: clip.fake for name, clip in clips.items()} == {
        "real/a.mp4": False,
        "real/c.JPG": False,
        "fake/a.mp4": True,
        "fake/lip/b.mkv": True,
    }
    assert clips["real/a.mp4"].group == clips["fake/a.mp4"].group == "a"
    assert clips["fake/lip/b.mkv"].method == "lip"
    assert clips["real/a.mp4"].is_video
    assert not clips["real/c.JPG"].is_video


def test_srdf_wants_its_generators(tmp_path: Path) -> None:
    put(tmp_path, "real/a.mp4", "fake/first-order-motion/a.mp4")
    assert {clip.method for clip in clips_of(tmp_path, "srdf") if clip.fake} == {"first-order-motion"}
    put(tmp_path, "fake/b.mp4")
    with pytest.raises(ConfigError, match=r"fake/b\.mp4.*<generator>"):
        clips_of(tmp_path, "srdf")


def test_folder_of_one_class(tmp_path: Path) -> None:
    put(tmp_path, "2024/a.mp4", "b.mp4")
    assert labels(clips_of(tmp_path, "real")) == {"2024/a.mp4": False, "b.mp4": False}
    assert all(labels(clips_of(tmp_path, "fake")).values())
    with pytest.raises(SourceNotFound, match="--kind real"):
        clips_of(tmp_path, "folder")
    (tmp_path / "2024" / "a.mp4").unlink()
    with pytest.raises(SourceNotFound, match="no video"):
        clips_of(tmp_path / "2024", "real")


def test_index_knows_originals(tmp_path: Path) -> None:
    put(tmp_path, "val/real/r.jpg", "val/fake/f.jpg", "val/fake/g.jpg")
    rows = ["split,label,file,source_video,width", "val,real,r.jpg,one,90", "val,fake,f.jpg,one,90"]
    write(tmp_path / "index.csv", "\n".join([*rows, "val,fake,g.jpg,two,90"]))
    assert detect(tmp_path) == "index"
    real, fake, other = clips_of(tmp_path, split="val")
    assert (real.fake, fake.fake, other.fake) == (False, True, True)
    assert fake.original == real.paths[0]
    assert real.original is other.original is None
    assert fake.group == real.group == "one"


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("split,label,file,source_video\n", ConfigError, "lists nothing"),
        ("label,file\nreal,a.jpg\n", ConfigError, "needs the columns split"),
        ("split,label,file,source_video\ntest,true,a.jpg,a\n", ConfigError, "line 2.*'true'"),
        ("split,label,file,source_video\ntest,real,a.jpg,a\n", SourceNotFound, r"a\.jpg: listed but missing"),
    ],
)
def test_index_that_is_wrong(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    write(tmp_path / "index.csv", text)
    with pytest.raises(error, match=said):
        clips_of(tmp_path, "index")


def test_what_is_not_known_or_not_clear_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no data set that is known.*--kind"):
        detect(tmp_path)
    write(tmp_path / "dataset.json", {})
    write(tmp_path / "List_of_testing_videos.txt", "")
    with pytest.raises(ConfigError, match="celebdf and dfdc-preview"):
        detect(tmp_path)
    with pytest.raises(SourceNotFound, match="no such folder"):
        clips_of(tmp_path / "nothing")


def test_every_kind_has_a_layout() -> None:
    from typing import get_args

    assert set(get_args(Kind)) == {"auto", *LAYOUTS}


def numbered(count: int, fake: bool) -> list[LabelledClip]:
    name = "fake" if fake else "real"
    return [LabelledClip((Path(f"{name}{i}.mp4"),), f"{name}{i}", fake, "", f"{name}{i}") for i in range(count)]


def test_subset_is_balanced_and_always_the_same() -> None:
    clips = [*numbered(50, fake=False), *numbered(300, fake=True)]
    chosen = balanced_subset(clips, 20)
    assert sum(clip.fake for clip in chosen) == 10
    assert len(chosen) == 20
    assert balanced_subset(list(reversed(clips)), 20) == list(reversed(chosen))
    assert {clip.name for clip in chosen} < {clip.name for clip in balanced_subset(clips, 40)}
    assert len(balanced_subset(numbered(9, fake=False), 4)) == 4
    assert sum(not clip.fake for clip in balanced_subset(clips, 200)) == 50
