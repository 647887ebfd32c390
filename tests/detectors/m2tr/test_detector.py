"""The detector around the network: numpy in, scores out."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from streamwatch.detectors.m2tr.detector import M2TRDetector, to_input
from streamwatch.detectors.protocol import Precision
from streamwatch.errors import DetectorError, DetectorExhausted
from streamwatch.records import ImageArray
from tests.support.m2tr_models import card_for, tiny_model


@pytest.fixture(scope="module")
def detector() -> M2TRDetector:
    model = tiny_model()
    return M2TRDetector(model, card_for(model.config), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def crops() -> ImageArray:
    pixels = np.random.default_rng(1).integers(0, 256, (7, 64, 64, 3), np.uint8)
    pixels.flags.writeable = False  # as arrays out of shared memory are
    return pixels


def test_scores_are_those_of_the_network(detector: M2TRDetector, crops: ImageArray) -> None:
    model = tiny_model()
    with torch.inference_mode():
        output = model(((torch.tensor(crops) - 127.0) / 128.0).permute(0, 3, 1, 2))
    arrays = detector.score_arrays(crops)
    logits = (output.logits[:, 1] - output.logits[:, 0]).numpy()
    assert np.ptp(logits) > 0.1
    np.testing.assert_allclose(arrays.logits, logits, atol=1e-4)
    np.testing.assert_allclose(arrays.probabilities, 1 / (1 + np.exp(-(logits / 1.5 - 0.25))), atol=1e-5)
    np.testing.assert_allclose(arrays.features, output.feature, atol=1e-4)
    assert arrays.masks is not None
    assert arrays.masks.dtype == np.uint8
    assert np.ptp(arrays.masks) > 10
    np.testing.assert_allclose(arrays.masks, 255 * output.mask_logits.sigmoid()[:, 0], atol=0.51)


def test_records_say_what_the_arrays_say(detector: M2TRDetector, crops: ImageArray) -> None:
    arrays, scores = detector.score_arrays(crops), detector.score(crops)
    assert len(scores) == len(arrays) == 7
    assert [score.logit for score in scores] == arrays.logits.tolist()
    assert [score.probability for score in scores] == arrays.probabilities.tolist()
    assert scores[3].feature.shape == (1280,)
    assert scores[3].mask is not None
    assert scores[3].mask.shape == (16, 16)
    assert scores[3].crop is None


def test_no_crops_no_scores(detector: M2TRDetector) -> None:
    nothing = np.empty((0, 64, 64, 3), np.uint8)
    assert detector.score(nothing) == []
    arrays = detector.score_arrays(nothing)
    assert arrays.masks is not None
    assert (arrays.logits.shape, arrays.features.shape, arrays.masks.shape) == ((0,), (0, 1280), (0, 16, 16))


def test_model_without_decoder_gives_no_masks(crops: ImageArray) -> None:
    model = tiny_model(decoder=False)
    plain = M2TRDetector(model, card_for(model.config), device="cpu")
    assert plain.score_arrays(crops).masks is None
    assert plain.score_arrays(crops[:0]).masks is None
    assert plain.score(crops[:1])[0].mask is None


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_batch_mates_do_not_matter(crops: ImageArray, precision: Precision) -> None:
    model = tiny_model()
    judge = M2TRDetector(model, card_for(model.config), device="cpu", precision=precision, max_batch=4)
    together = judge.score_arrays(crops)
    alone = np.concatenate([judge.score_arrays(crops[i : i + 1]).probabilities for i in range(len(crops))])
    np.testing.assert_allclose(alone, together.probabilities, atol=1e-5 if precision == "fp32" else 0.02)


def test_bf16_stays_near_fp32(detector: M2TRDetector, crops: ImageArray) -> None:
    model = tiny_model()
    coarse = M2TRDetector(model, card_for(model.config), device="cpu", precision="bf16")
    a, b = detector.score_arrays(crops), coarse.score_arrays(crops)
    assert b.features.dtype == b.logits.dtype == np.float32
    assert np.abs(a.logits - b.logits).max() > 0
    assert np.abs(a.probabilities - b.probabilities).mean() < 0.05


def test_auto_precision_follows_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    model = tiny_model()
    for flags, expected in (("avx2 avx512_bf16", "bf16"), ("avx2 avx512f", "fp32"), (None, "fp32")):
        cpuinfo.unlink(missing_ok=True)
        if flags is not None:
            cpuinfo.write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\nbugs\t:\n")
        monkeypatch.setattr("streamwatch.cpu.CPUINFO", cpuinfo)
        assert M2TRDetector(model, card_for(model.config), device="cpu").precision == expected


@pytest.mark.parametrize(
    "shape", [(2, 32, 32, 3), (64, 64, 3), (2, 3, 64, 64), (0,)], ids=["small", "single", "planar", "flat"]
)
def test_crops_of_another_shape_are_refused(detector: M2TRDetector, shape: tuple[int, ...]) -> None:
    with pytest.raises(DetectorError, match="64×64×3"):
        detector.score(np.zeros(shape, np.uint8))


def test_crops_of_another_type_are_refused(detector: M2TRDetector) -> None:
    with pytest.raises(DetectorError, match="float32"):
        detector.score(np.zeros((1, 64, 64, 3), np.float32))


def test_broken_weights_are_an_error_not_a_score(crops: ImageArray) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.classifier.projection.weight[0, 0] = float("inf")
    with pytest.raises(DetectorError, match="not finite"):
        M2TRDetector(model, card_for(model.config), device="cpu").score(crops)


def test_a_lack_of_memory_is_told_apart_from_other_failures(
    detector: M2TRDetector, crops: ImageArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[Exception] = [torch.cuda.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("else")]
    monkeypatch.setattr(M2TRDetector, "_forward", lambda self, batch: (_ for _ in ()).throw(failures.pop(0)))
    for _ in range(2):
        with pytest.raises(DetectorExhausted, match="memory on cpu for 4 faces"):
            detector.score(crops)
    with pytest.raises(RuntimeError, match="else"):
        detector.score(crops)


def test_unknown_devices_are_named() -> None:
    model = tiny_model()
    for device in ("cuda:99", "toaster"):
        with pytest.raises(DetectorError, match=device):
            M2TRDetector(model, card_for(model.config), device=device)


def test_the_callers_model_is_left_alone() -> None:
    model = tiny_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    M2TRDetector(model.train(), card_for(model.config), device="cpu")
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_input_is_normalised_per_channel() -> None:
    spec = card_for(tiny_model().config).input
    crops = np.zeros((1, 64, 64, 3), np.uint8)
    crops[..., 1] = 255
    tensor = to_input(crops, spec, torch.device("cpu"))
    assert tensor.shape == (1, 3, 64, 64)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    assert tensor[0, :, 0, 0].tolist() == [-127 / 128, 1.0, -127 / 128]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries manage their memory otherwise")
def test_batches_on_the_cpu_reuse_memory() -> None:
    """A layer's results take the pages of those of the batch before; otherwise each face costs 1,800 page faults."""
    code = """
import resource
import numpy as np
from streamwatch.detectors import load_detector

detector = load_detector("m2tr-lite", "cpu", threads=1)
crops = np.zeros((4, detector.input_size, detector.input_size, 3), np.uint8)
for _ in range(3):
    detector.score_arrays(crops)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    detector.score_arrays(crops)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)

    assert float(done.stdout) < 200
