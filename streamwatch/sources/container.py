"""The one way in which streamwatch opens media: what may be reached is decided here.

- A source may use only the protocols and container formats that its scheme needs. A local file cannot make
  FFmpeg open another file or the network: local playlists (HLS, DASH, ffconcat, SDP, numbered pictures) are
  refused. A playlist from the network cannot reach local files. Pseudo-protocols (`concat:`, `subfile:`,
  `data:`) and devices are allowed nowhere.
- Only the codecs of `CODECS` are decoded.
- Opening and reading have a time limit, probing a byte and time limit, pictures a size limit, decoding a
  thread limit. Resolving a host name is left to the system's resolver and its own limits.
- FFmpeg's log callback stays off, but for RTSP while a packet is read (`rtp.py`): it calls into Python from FFmpeg's
  threads, and its lines hold whole URLs.
- FFmpeg's errors become `SourceError`s with the error as their cause; credentials are masked in both.
"""

from __future__ import annotations

import errno
import functools
import ssl
import time
from dataclasses import dataclass

import av
import av.error
import av.logging
import certifi
from av.codec.context import ThreadType
from av.container import InputContainer
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from streamwatch.config import DecodeSettings
from streamwatch.errors import (
    SourceEnded,
    SourceError,
    SourceNotFound,
    SourceRefused,
    SourceTimeout,
    SourceTooLarge,
    SourceUnauthorized,
    SourceUnreadable,
    SourceUntrusted,
)
from streamwatch.extensions import SOURCES
from streamwatch.sources.location import Location
from streamwatch.sources.opened import OpenedFile
from streamwatch.sources.redact import has_unescaped_password
from streamwatch.sources.regular_files import check_regular_file
from streamwatch.sources.rtp import REORDER_QUEUE

av.logging.set_level(None)

_FILE_FORMATS = (
    "asf,av1,avi,dv,flv,gxf,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,rm,vc1,vvc,wtv"
)
_AVFMT_NOTIMESTAMPS, _AVFMT_TS_DISCONT = 0x0080, 0x0200  # libavformat/avformat.h
_ADAPTIVE_FORMATS = ("hls", "dash")
_HTTP_FORMATS = _FILE_FORMATS + ",hls,mpjpeg,aac,ac3,eac3,mp3,webvtt"


CODECS = frozenset(
    {
        "h264",
        "hevc",
        "vvc",
        "av1",
        "vp8",
        "vp9",
        "mpeg1video",
        "mpeg2video",
        "mpeg4",
        "msmpeg4v1",
        "msmpeg4v2",
        "msmpeg4v3",
        "h261",
        "h263",
        "h263i",
        "h263p",
        "flv1",
        "vp6",
        "vp6a",
        "vp6f",
        "mjpeg",
        "prores",
        "dnxhd",
        "cfhd",
        "dvvideo",
        "ffv1",
        "huffyuv",
        "ffvhuff",
        "utvideo",
        "rawvideo",
        "v210",
        "theora",
        "wmv1",
        "wmv2",
        "wmv3",
        "vc1",
        "rv30",
        "rv40",
        "svq3",
        "cavs",
        "jpeg2000",
        "png",
        "qtrle",
    }
)
"""What is decoded: what cameras, editors and the web produce. FFmpeg's other decoders are hardly tested."""


@dataclass(frozen=True)
class Access:
    """What a scheme may reach. `live`: its media has no end of its own and no second chance."""

    protocols: str
    formats: str
    live: bool


FILE_ACCESS = Access("file", _FILE_FORMATS, live=False)
READ_ACCESS = Access("none", _FILE_FORMATS, live=False)
"""FFmpeg reads an `OpenedFile` through this program, and nothing else."""

SCHEMES = {
    "http": Access("http,https,httpproxy,tcp,tls,crypto", _HTTP_FORMATS, live=False),
    "https": Access("http,https,httpproxy,tcp,tls,crypto", _HTTP_FORMATS, live=False),
    "rtmp": Access("rtmp,tcp", "flv,live_flv", live=True),
    "rtmps": Access("rtmps,tls,tcp", "flv,live_flv", live=True),
    "rtsp": Access("rtsp,rtp,udp,tcp", "rtsp", live=True),
    "rtsps": Access("rtsps,rtsp,rtp,srtp,udp,tcp,tls", "rtsp", live=True),
    "srt": Access("srt", "mpegts", live=True),
    "udp": Access("udp", "mpegts", live=True),
}


_OPTIONAL = ("srt",)
"""Schemes that FFmpeg may have been built without."""
RTMP_PROBE_SECONDS = 1.0
"""Media seconds that are read to find the streams of RTMP: its header says that there is sound where none comes."""

_ENCRYPTED = ("https", "rtmps", "rtsps")
_SESSIONS = ("rtmp", "rtmps", "rtsp", "rtsps")
"""Schemes whose FFmpeg clients call a connection that was broken off invalid data."""


def access_for(source: Location) -> Access:
    """What may be reached for a path or URL. Raises SourceRefused for a scheme that is neither in `SCHEMES` nor in
    `SOURCES`, ConfigError where a distribution claims one of `SCHEMES`.
    """
    scheme = source.scheme
    if not scheme:
        return FILE_ACCESS
    SOURCES.check(scheme)
    if scheme in SCHEMES:
        return SCHEMES[scheme]
    if scheme in SOURCES.names():
        return READ_ACCESS
    known = ", ".join((*SCHEMES, *SOURCES.names()))
    hint = "give the path alone" if scheme == "file" else f"use a path or one of {known}"
    raise SourceRefused(f"{source}: the scheme {scheme}:// is not allowed", hint)


def check_watchable(source: Location) -> None:
    """Raise SourceRefused for what cannot be watched, however often it is tried: a scheme that is not allowed or that
    FFmpeg was built without, an object in a store. Raises ConfigError where a broken extension would open it.
    """
    if source.is_object:
        raise SourceRefused(f"{source}: an object in a store is no stream", "use `streamwatch scan`")
    if access_for(source) is READ_ACCESS:
        SOURCES.load(source.scheme)
    if source.scheme in _OPTIONAL and not _is_spoken(source.scheme):
        raise _unspoken(source)


@functools.cache
def _is_spoken(scheme: str) -> bool:
    """Whether this build of FFmpeg has the protocol; nothing is connected to, as there is no host."""
    try:
        av.open(f"{scheme}://", timeout=1.0).close()
    except av.error.ProtocolNotFoundError:
        return False
    except av.error.FFmpegError:
        return True
    return True


def _unspoken(source: Location) -> SourceRefused:
    return SourceRefused(
        f"{source}: the installed FFmpeg cannot speak {source.scheme}", "install a build of PyAV that can"
    )


def open_container(source: Location, settings: DecodeSettings, opened: OpenedFile | None = None) -> InputContainer:
    """Open a path or URL for reading; the caller closes the container. opened: of a scheme in `SOURCES`;
    the caller closes it after the container.

    Raises SourceNotFound, SourceRefused, SourceTimeout or SourceUnreadable.
    """
    access = access_for(source)
    name: str | OpenedFile
    if opened is not None:
        name = opened
    elif access is FILE_ACCESS:
        check_regular_file(source.text)
        name = f"file:{source.text}"  # or a name such as "a:b.mp4" would be taken for a protocol
    else:
        name = source.text
    if has_unescaped_password(source.text):
        raise SourceUnauthorized(
            f"{source}: the password holds a character that ends the host part", "write # / ? as %23 %2F %3F"
        )
    begun = time.monotonic()
    try:
        return av.open(
            name,
            mode="r",
            options={"max_pixels": str(settings.max_pixels)},
            container_options=_container_options(source, access, settings),
            metadata_errors="replace",
            timeout=(settings.open_timeout, settings.read_timeout),
        )
    except av.error.FFmpegError as error:
        if opened is not None:
            opened.check()
        waited = time.monotonic() - begun
        raise source_error(error, source, waited=waited, limit=settings.open_timeout, opening=True) from error


def video_stream(container: InputContainer, source: Location, settings: DecodeSettings, *, live: bool) -> VideoStream:
    """The container's main video stream, set up for decoding; all other streams are discarded while reading.

    Cover pictures of audio files do not count as video. Raises SourceUnreadable if there is no video stream
    or no decoder for it, SourceTooLarge if its pictures are larger than `max_pixels`.
    """
    chosen = container.streams.best("video")
    if not isinstance(chosen, VideoStream) or chosen.disposition & Disposition.attached_pic:
        raise SourceUnreadable(f"{source}: has no video stream")
    context = chosen.codec_context
    if context is None:
        raise SourceUnreadable(f"{source}: this build of FFmpeg has no decoder for its video")
    codec = context.codec.canonical_name
    if codec not in CODECS:
        raise SourceUnreadable(
            f"{source}: {codec} video is not decoded here", "convert it to one of " + ", ".join(sorted(CODECS))
        )
    check_size(context.width, context.height, source, settings)
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = Discard.all
    context.options = {"max_pixels": str(settings.max_pixels)}
    context.thread_count = settings.threads
    # Frame threads hold back a picture each, which a live stream cannot afford.
    context.thread_type = ThreadType.SLICE if live else ThreadType.AUTO
    return chosen


def video_tracks(container: InputContainer) -> int:
    """How many video tracks there are, over all programmes. Cover pictures, thumbnails of chapters, and the variants in
    which a playlist offers one and the same picture do not count.
    """
    if container.format.name in _ADAPTIVE_FORMATS:
        return 1
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    return sum(not stream.disposition & pictures for stream in container.streams.video)


def timestamps_may_restart(container: InputContainer) -> bool:
    """Whether the container's format allows its timestamps to jump, as MPEG-TS and HLS do."""
    return bool(container.format.flags & _AVFMT_TS_DISCONT)


def no_header_duration(container: InputContainer) -> bool:
    """Whether the format has no header that could say how long it is, so that FFmpeg can only guess."""
    return bool(container.format.flags & (_AVFMT_NOTIMESTAMPS | _AVFMT_TS_DISCONT))


def check_size(width: int, height: int, source: Location, settings: DecodeSettings) -> None:
    """Raise SourceTooLarge if a picture of this size is larger than `decode.max_pixels`."""
    if width * height > settings.max_pixels:
        raise SourceTooLarge(
            f"{source}: {width}×{height} is more than decode.max_pixels = {settings.max_pixels}",
            "raise that setting if the source is to be trusted",
        )


def source_error(
    error: av.error.FFmpegError, source: Location, *, waited: float, limit: float, opening: bool
) -> SourceError:
    """The typed error for what FFmpeg reported about `source`; masks the credentials in `error` itself too.

    waited: seconds that the failed call took; limit: seconds after which PyAV ends it. RTSP, for one, reports
    an ended call as invalid data, so the time decides. opening: whether that call was to open it.
    """
    name, scheme = source.name, source.scheme
    error.args = (*error.args[:2], name)
    detail = error.strerror or type(error).__name__
    if waited >= limit or isinstance(error, (av.error.ExitError, av.error.TimeoutError)):
        return timed_out(source, limit)
    if isinstance(error, (av.error.FileNotFoundError, av.error.HTTPNotFoundError)):
        return SourceNotFound(f"{name}: the server says that there is no such stream or file", "check the path")
    if isinstance(error, (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)):
        return SourceUnauthorized(
            f"{name}: the server wants other credentials", "give them as scheme://user:password@host/…"
        )
    if isinstance(error, av.error.ProtocolNotFoundError):
        return _unspoken(source)
    if isinstance(error, av.error.ConnectionRefusedError):
        return SourceRefused(f"{name}: connection refused", "check host and port, and that the server runs")
    if not scheme and isinstance(error, av.error.EOFError):
        return SourceUnreadable(f"{name}: not a video, or damaged beyond reading")
    if isinstance(error, av.error.EOFError) or (scheme in _SESSIONS and isinstance(error, av.error.InvalidDataError)):
        return SourceEnded(
            f"{name}: the server broke the connection off", "check its log, and that it serves this path"
        )
    if opening and scheme in _ENCRYPTED and error.errno == errno.EIO:
        return SourceUntrusted(
            f"{name}: no encrypted connection could be agreed on",
            "check that the server speaks TLS on this port, and who signed its certificate: name that one in "
            "decode.tls_ca_file, or the host in decode.tls_unverified_hosts",
        )
    if isinstance(error, av.error.InvalidDataError):
        return SourceUnreadable(f"{name}: not a video, or damaged beyond reading")
    if isinstance(error, av.error.ArgumentError):
        hint = "or the URL is malformed" if scheme else "playlists, pictures and audio are refused"
        return SourceUnreadable(f"{name}: not a video format that streamwatch opens ({hint})")
    if isinstance(error, (OSError, av.error.HTTPError, av.error.HTTPClientError)):
        return SourceRefused(f"{name}: cannot be reached or read ({detail})", "check its name and the network")
    return SourceUnreadable(f"{name}: cannot be read as video ({detail})")


def timed_out(source: Location, limit: float) -> SourceTimeout:
    """The error for a source from which nothing came for `limit` seconds."""
    return SourceTimeout(
        f"{source}: nothing came within {limit:g} s",
        "check the sender, or raise decode.open_timeout or decode.read_timeout",
    )


def _container_options(source: Location, access: Access, settings: DecodeSettings) -> dict[str, str]:
    options = {
        "protocol_whitelist": access.protocols,
        "format_whitelist": access.formats,
        "probesize": str(settings.probe_bytes),
        "analyzeduration": _microseconds(settings.probe_seconds),
    }
    # Opening and reading end by PyAV's limits, which come first; the sockets' limits are for closing.
    socket_timeout = _microseconds(2 * max(settings.open_timeout, settings.read_timeout))
    if source.scheme in _ENCRYPTED or source.scheme == "http":  # which may redirect to https
        options |= tls_options(source, settings)
    if source.scheme in ("rtmp", "rtmps"):
        options["analyzeduration"] = _microseconds(min(RTMP_PROBE_SECONDS, settings.probe_seconds))
    if source.scheme in ("rtsp", "rtsps"):
        # No return channels, which servers may refuse, and no silent sound, for which FFmpeg waits.
        options["allowed_media_types"] = "video"
        options["rtsp_transport"] = settings.rtsp_transport
        options["timeout"] = socket_timeout
        if settings.rtsp_transport == "tcp":
            options["reorder_queue_size"] = str(REORDER_QUEUE)
    elif source.is_url and access is not READ_ACCESS:
        options["rw_timeout"] = socket_timeout
    return options


def sends_no_parts(source: Location, settings: DecodeSettings) -> bool:
    """Whether a source is on an HTTP server that answers a request for one byte with the whole."""
    if source.scheme not in ("http", "https"):
        return False
    import httpx

    tls = tls_options(source, settings)
    verify = ssl.create_default_context(cafile=tls["ca_file"]) if "ca_file" in tls else False
    ask = {"range": "bytes=1-1"}
    try:
        with httpx.stream("GET", source.text, headers=ask, timeout=settings.open_timeout, verify=verify) as answer:
            return answer.status_code == httpx.codes.OK
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def tls_options(source: Location, settings: DecodeSettings) -> dict[str, str]:
    """What FFmpeg's connections to a source verify."""
    if source.host in settings.tls_unverified_hosts:
        return {"tls_verify": "0"}
    return {"tls_verify": "1", "ca_file": str(settings.tls_ca_file or _system_certificates())}


@functools.cache
def _system_certificates() -> str:
    """Those that the system trusts (or `SSL_CERT_FILE`), or Mozilla's where it has no such file."""
    return ssl.get_default_verify_paths().cafile or certifi.where()


def _microseconds(seconds: float) -> str:
    return str(round(seconds * 1_000_000))
