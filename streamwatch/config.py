"""Settings as typed models.

Order of precedence, strongest first: command-line options, environment (`STREAMWATCH__FACES__THRESHOLD=0.9`),
the file that --config names, the pipeline preset, the defaults below. No file is read that is not named, nor one from
the current folder. Unknown keys and variables are errors.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from streamwatch.errors import ConfigError
from streamwatch.extensions import SINKS
from streamwatch.records import AlertKind, Label
from streamwatch.setting_names import nearest_key, unknown_variable
from streamwatch.validation import dotted
from streamwatch.yaml_text import YamlProblem, parse_yaml

SINK_SCHEMES = {"webhook": ("https", "http"), "mqtt": ("mqtts", "mqtt")}

ANALYSIS_VERSION = 2
"""Raised with every change of the conversion of pictures, face detection, tracking, crops or fusion that can change a
verdict on the same settings: what earlier versions have stored is then not reused.
"""

LogLevel = Literal["debug", "info", "warning", "error"]

PIPELINES = ("archive", "live", "forensic")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(Section):
    url: str = Field("sqlite:///streamwatch.db", description="SQLAlchemy URL: sqlite:///FILE or postgresql+psycopg://…")


class SamplingSettings(Section):
    fps: float = Field(2.0, gt=0, le=120, description="analysed frames per second of media time")
    min_frames: int = Field(8, ge=0, description="shorter files are sampled more densely, to reach so many frames")
    max_frames: int | None = Field(None, gt=0, description="stop sampling a file after so many frames; null: no limit")
    triage: bool = Field(False, description="look at key frames first, and closely only where they leave doubt")


class DecodeSettings(Section):
    threads: int = Field(1, ge=1, le=64, description="decoding threads per source")
    open_timeout: float = Field(10.0, gt=0, description="seconds to wait for a source to open")
    read_timeout: float = Field(10.0, gt=0, description="seconds to wait for the next packet")
    key_frame_timeout: float = Field(
        120.0, gt=0, description="seconds to wait for the first key frame of a stream while packets come"
    )
    probe_bytes: int = Field(5_000_000, ge=32, description="bytes read to find the streams of a container")
    probe_seconds: float = Field(5.0, gt=0, description="media seconds read to find the streams of a container")
    max_pixels: int = Field(36_000_000, gt=0, description="pictures with more pixels are refused")
    rtsp_transport: Literal["tcp", "udp"] = Field("tcp", description="how RTSP media travels")
    tls_ca_file: Path | None = Field(
        None, description="certificates (PEM) that https, rtsps and rtmps sources must be signed by; null: the system's"
    )
    tls_unverified_hosts: tuple[str, ...] = Field((), description="hosts whose certificates are not verified")


class FaceSettings(Section):
    detector: Literal["retinaface-mobilenet", "retinaface-resnet50"] = "retinaface-mobilenet"
    weights: Path | None = Field(None, description="safetensors file; needed for retinaface-resnet50")
    long_side: int = Field(640, ge=64, le=4096, description="frames are scaled down to this before detection")
    threshold: float = Field(0.8, gt=0, lt=1, description="least confidence of a face")
    nms: float = Field(0.4, gt=0, lt=1, description="boxes that overlap more than this are one face")
    min_side: float = Field(24.0, ge=0, description="faces with a shorter side (frame pixels) are not looked at")
    max_faces: int = Field(16, ge=1, description="largest faces looked at per frame; a verdict says how many were not")
    batch: int = Field(1, ge=1, description="frames per detector call; more gain nothing on a CPU")
    threads: int = Field(1, ge=1, description="threads of the face detector in each worker")


class TrackSettings(Section):
    iou: float = Field(0.3, gt=0, lt=1, description="least overlap that joins a face to its track")
    max_gap: float = Field(1.5, gt=0, description="seconds after which a lost track ends")
    cut: float = Field(0.5, gt=0, le=1, description="colour-histogram distance (0..1) that counts as a shot cut")


class DetectorSettings(Section):
    model: str = Field("m2tr-lite", description="registered name, or path to a .safetensors file")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="bf16 is about twice as fast and rounds coarser; auto: where the hardware has it"
    )
    actors: int = Field(0, ge=0, description="detector actors; 0: one per GPU, or one on the CPU")
    threads: int = Field(0, ge=0, description="CPU threads per detector actor; 0: all cores")
    max_batch: int = Field(16, ge=1, description="most faces in one batch")
    max_wait_ms: float = Field(10.0, ge=0, description="longest time a face waits for company, milliseconds")


class FusionSettings(Section):
    rule: Literal["mean_logit"] = Field("mean_logit", description="how the scores of a track become one")
    fake: float | None = Field(None, gt=0, lt=1, description="score from which a track is fake; null: the model card's")
    real: float | None = Field(None, gt=0, lt=1, description="score up to which a track is real; null: the card's")
    min_faces: int = Field(4, ge=1, description="fewer usable faces are inconclusive")
    min_face_side: float | None = Field(None, ge=0, description="smaller faces carry no weight; null: the model card's")
    min_sharpness: float | None = Field(None, ge=0, description="blurrier faces carry no weight; null: the card's")
    max_pose: float | None = Field(None, ge=0, le=1, description="faces turned further carry none; null: the card's")
    window: float = Field(1.5, gt=0, description="seconds over which frame scores are smoothed to find spans")
    min_span: float = Field(1.0, ge=0, description="shortest span reported, seconds")
    merge_gap: float = Field(1.0, ge=0, description="spans closer than this are one, seconds")
    unseen_share: float = Field(
        0.1, ge=0, le=1, description="share of a source that may go unanalysed in a verdict real or no_face"
    )
    evidence: int = Field(3, ge=0, le=32, description="strongest faces kept per span, with crop and mask")

    @model_validator(mode="after")
    def _ordered(self) -> FusionSettings:
        if self.fake is not None and self.real is not None and self.real > self.fake:
            raise ValueError("fusion.real must not be above fusion.fake")
        return self


class EngineSettings(Section):
    workers: int = Field(0, ge=0, description="files worked on at once; 0: one per core. Streams all run at once")
    batch_faces: int = Field(8, ge=1, description="faces a worker sends to the detector at once")
    in_flight: int = Field(2, ge=1, description="batches of a worker that may be pending at a time")
    attempts: int = Field(3, ge=1, description="tries before a file whose worker dies is an error")
    segment: float = Field(300.0, ge=0, description="seconds of the parts that long files are cut into; 0: never cut")
    address: str | None = Field(None, description="Ray cluster to join; null: start one on this machine")


class LiveSettings(Section):
    verdict_every: float = Field(5.0, gt=0, description="seconds between stored verdicts of a running stream")
    horizon: float = Field(60.0, gt=0, description="seconds of scores that a running verdict looks back on")
    stalled_after: float = Field(
        2.0, gt=0, description="seconds without a picture, or 3 usual intervals, until it stalls"
    )
    still_after: float = Field(4.0, gt=0, description="seconds of a frozen or black picture until it is called so")
    backoff_first: float = Field(0.5, gt=0, description="longest wait before the first reconnect, seconds; it doubles")
    backoff_max: float = Field(2.0, gt=0, description="longest wait between reconnects, seconds")
    retry_budget: int = Field(300, ge=0, description="reconnects within retry_window after which a stream has failed")
    retry_window: float = Field(600.0, gt=0, description="seconds over which reconnects count")
    failed_retry: float = Field(60.0, gt=0, description="seconds between tries of a stream that has failed")
    store_patience: float = Field(600.0, gt=0, description="seconds that results are kept for a store that is locked")
    stale_after: float = Field(2.0, gt=0, description="sampled frames older than this are dropped, seconds")
    roster: Path | None = Field(None, description="file of added streams; null: FILE.streams.yaml beside SQLite's")


class AlertSettings(Section):
    enter: float | None = Field(None, gt=0, lt=1, description="mean score that opens an alert; null: the card's fake")
    leave: float | None = Field(None, gt=0, lt=1, description="mean score that keeps it open; null: the card's real")
    min_faces: int = Field(4, ge=1, description="faces that an alert opens on")
    min_seconds: float = Field(1.5, ge=0, description="seconds that these faces must cover")
    quiet: float = Field(10.0, gt=0, description="seconds without evidence after which an alert ends")
    cool_down: float = Field(60.0, ge=0, description="seconds after its end within which it opens again, not a new one")
    update_every: float = Field(30.0, gt=0, description="seconds between updates of an alert that goes on")
    down_after: float = Field(5.0, ge=0, description="seconds that a stream must be down or unseen to raise an alert")
    clip_before: float = Field(5.0, ge=0, description="seconds before a forgery that its clip shows")
    clip_after: float = Field(5.0, ge=0, description="seconds after an alert opened that its clip shows")
    clip_max_bytes: int = Field(32_000_000, ge=0, description="most bytes of a clip; 0: no clips")
    clips: Path | None = Field(None, description="folder of the clips; null: FILE.clips beside an SQLite store")


class RetentionSettings(Section):
    scores: float | None = Field(90.0, gt=0, description="days that scores of single faces are kept; null: forever")
    evidence: float | None = Field(90.0, gt=0, description="days that pictures and clips are kept; null: forever")
    results: float | None = Field(None, gt=0, description="days that verdicts and alerts are kept, with all under them")
    labels: dict[Label, Annotated[float, Field(gt=0)]] | None = Field(
        None, description="days that verdicts of a label are kept, where they differ: {real: 30}"
    )
    history: float | None = Field(
        90.0,
        gt=0,
        description="days for changes of state, done deliveries, empty runs, unfinished files, hashes not asked for",
    )
    max_bytes: int | None = Field(
        None, gt=0, description="bytes above which scores, then pictures and clips go, the oldest first"
    )
    every: float = Field(3600.0, gt=0, description="seconds between two looks of a watch or a scan")

    @property
    def asked_for(self) -> bool:
        """Whether anything is to go."""
        return any(getattr(self, name) for name in RetentionSettings.model_fields if name != "every")


class MetricsSettings(Section):
    port: int | None = Field(None, ge=1, le=65535, description="where `watch` answers Prometheus; null: nowhere")
    host: str = Field("127.0.0.1", description="address to listen on")


class TracingSettings(Section):
    every: int = Field(0, ge=0, description="one sampled frame in so many is traced; 0: none")
    endpoint: str | None = Field(None, description="OTLP over HTTP, http://HOST:4318/v1/traces; null: as OTEL_… say")


class LogSettings(Section):
    level: LogLevel = Field("warning", description="least severity that is logged")
    format: Literal["text", "json"] = Field("text", description="lines for people, or one JSON object a line")


def signing_key(secret: str) -> bytes:
    """The key of a webhook's signature: of `whsec_…` the bytes that its base64 stands for, of any other secret its own.

    Raises ValueError for base64 that is none, or stands for nothing (Standard Webhooks, "Signature scheme").
    """
    coded = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(coded, validate=True) if coded != secret else secret.encode()
    except ValueError:
        raise ValueError("what follows whsec_ in its secret is not base64") from None
    if not key:
        raise ValueError("its secret is empty")
    return key


class SinkSettings(Section):
    """Where alerts are delivered. A webhook's URL often is a credential itself, so it is kept secret as a whole."""

    name: str = Field(min_length=1, max_length=64, description="what the sink is called in messages and in the store")
    kind: Literal["webhook", "mqtt"] | None = Field(None, description="null: whatever the url's scheme stands for")
    url: SecretStr = Field(
        description="https://HOST/PATH, mqtt(s)://USER:PASSWORD@HOST:PORT/TOPIC, or of an extension's scheme"
    )
    secret: SecretStr | None = Field(None, description="key of a webhook's signature (HMAC-SHA256)")
    alerts: tuple[AlertKind, ...] = Field(tuple(AlertKind), description="kinds of alerts that it receives")
    timeout: float = Field(10.0, gt=0, description="seconds that an attempt may take")

    def wants(self, kind: AlertKind) -> bool:
        """Whether it receives alerts of this kind."""
        return kind in self.alerts

    @property
    def scheme(self) -> str:
        """Of the URL; it says what kind of sink this is."""
        return self.url.get_secret_value().partition("://")[0]

    @model_validator(mode="after")
    def _complete(self) -> SinkSettings:
        allowed = SINKS.names() if self.kind is None else SINK_SCHEMES[self.kind]
        if self.scheme not in allowed:
            raise ValueError(f"the url of sink {self.name} must begin with {' or '.join(allowed)}")
        is_webhook = self.scheme in SINK_SCHEMES["webhook"]
        if is_webhook and (self.secret is None or not self.secret.get_secret_value()):
            raise ValueError(f"sink {self.name} needs a secret: receivers check the signature that is made with it")
        if is_webhook and self.secret is not None:
            try:
                signing_key(self.secret.get_secret_value())
            except ValueError as error:
                raise ValueError(f"sink {self.name}: {error}") from None
        self._check_address()
        return self

    def _check_address(self) -> None:
        """Raise ValueError, which quotes nothing of it, for an address without a host or with no port that can be."""
        if self.scheme not in {*SINK_SCHEMES["webhook"], *SINK_SCHEMES["mqtt"]}:
            return
        try:
            parts = urlsplit(self.url.get_secret_value())
            known = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            known = False
        if not known:
            raise ValueError(f"the url of sink {self.name} has no host, or a port that cannot be")


class StreamSettings(Section):
    url: str = Field(min_length=1)
    name: str | None = Field(None, min_length=1)
    paused: bool = False


class Settings(BaseSettings):
    """All settings of a run. `digest()` identifies those that can change a result."""

    model_config = SettingsConfigDict(
        env_prefix="STREAMWATCH__", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    store: StoreSettings = StoreSettings()
    sampling: SamplingSettings = SamplingSettings()
    decode: DecodeSettings = DecodeSettings()
    faces: FaceSettings = FaceSettings()
    tracks: TrackSettings = TrackSettings()
    detector: DetectorSettings = DetectorSettings()
    fusion: FusionSettings = FusionSettings()
    engine: EngineSettings = EngineSettings()
    live: LiveSettings = LiveSettings()
    alerts: AlertSettings = AlertSettings()
    retention: RetentionSettings = RetentionSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    log: LogSettings = LogSettings()
    sinks: tuple[SinkSettings, ...] = ()
    streams: tuple[StreamSettings, ...] = ()

    @field_validator("sinks")
    @classmethod
    def _named_once(cls, sinks: tuple[SinkSettings, ...]) -> tuple[SinkSettings, ...]:
        names = [sink.name for sink in sinks]
        if len(set(names)) < len(names):
            raise ValueError("two sinks have the same name")
        return sinks

    @field_validator("streams")
    @classmethod
    def _each_once(cls, streams: tuple[StreamSettings, ...]) -> tuple[StreamSettings, ...]:
        # By their places: a URL may hold a password.
        for what in ("url", "name"):
            places: dict[str, int] = {}
            for place, value in enumerate((getattr(stream, what) for stream in streams), start=1):
                if value is not None and places.setdefault(value, place) != place:
                    raise ValueError(f"streams {places[value]} and {place} have the same {what}")
        return streams

    def digest(self) -> str:
        """SHA-256 over `ANALYSIS_VERSION` and the settings that can change a verdict: not where it is stored, nor how
        fast it is made.
        """
        relevant = {
            "analysis": ANALYSIS_VERSION,
            "sampling": self.sampling.model_dump(mode="json", exclude=set() if self.sampling.triage else {"triage"}),
            "decode": {"max_pixels": self.decode.max_pixels},
            "faces": self.faces.model_dump(mode="json", exclude={"batch", "threads"}),
            "tracks": self.tracks.model_dump(mode="json"),
            "detector": {"precision": self.detector.precision},
            "fusion": self.fusion.model_dump(mode="json"),
        }
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()


def load_settings(
    config: Path | None = None,
    pipeline: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge preset, file, environment and overrides (nested mappings) into one `Settings`.

    pipeline: `archive`, `live`, `forensic`, or a path to a YAML file of one's own.
    Raises ConfigError naming the file and key.
    """
    values: dict[str, Any] = {}
    origin = "settings"
    if pipeline is not None:
        text, origin = _preset_text(pipeline)
        values = _merge(values, _parse(text, origin))
    if config is not None:
        try:
            data = config.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{config}: cannot be read ({error.strerror})", "give --config an existing file"
            ) from None
        origin = str(config)
        values = _merge(values, _parse(_utf8(data, origin), origin))
    _check_environment()
    values = _merge(values, EnvSettingsSource(Settings)())
    values = _merge(values, overrides or {})
    try:
        return Settings(**values)
    except ValidationError as error:
        said = "; ".join(_problem(item["loc"], item["type"], item["msg"]) for item in error.errors())
        raise ConfigError(f"{origin}: {said} (see `streamwatch config schema`)") from None


def _problem(loc: Sequence[int | str], kind: str, message: str) -> str:
    """What is wrong with a key, and for one that there is none of, which one may be meant."""
    if kind != "extra_forbidden":
        return f"{dotted(loc)}: {message}"
    near = nearest_key(Settings, loc)
    return f"{dotted(loc)}: unknown key" + (f", did you mean {near}?" if near else "")


def _check_environment() -> None:
    found = unknown_variable(Settings, str(Settings.model_config["env_prefix"]), os.environ)
    if found is not None:
        name, near = found
        fix = f"did you mean {near}?" if near else "`streamwatch config schema` prints all settings"
        raise ConfigError(f"environment: {name} is no setting", fix)


def _utf8(data: bytes, origin: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{origin}: line {line} is not UTF-8", "save the file as UTF-8") from None


def _parse(text: str, origin: str) -> dict[str, Any]:
    try:
        values = parse_yaml(text)
    except YamlProblem as problem:
        raise ConfigError(f"{origin}: {problem}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{origin}: must be a mapping of sections, such as `sampling: {{fps: 2}}`")
    return values


def _preset_text(pipeline: str | Path) -> tuple[str, str]:
    name = str(pipeline)
    if name in PIPELINES:
        packaged = resources.files("streamwatch") / "pipelines" / f"{name}.yaml"
        if packaged.is_file():
            return packaged.read_text(encoding="utf-8"), f"pipeline {name}"
        checkout = Path(__file__).parent.parent / "pipelines" / f"{name}.yaml"
        return checkout.read_text(encoding="utf-8"), f"pipeline {name}"
    try:
        return _utf8(Path(name).read_bytes(), name), name
    except OSError:
        raise ConfigError(
            f"pipeline {name!r}: neither one of {', '.join(PIPELINES)} nor a readable YAML file"
        ) from None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged
