"""The log of the package: standard error, as text or JSON Lines, without the credentials of URLs.

Modules log to `logging.getLogger(__name__)`, below the logger `streamwatch`. Nothing is written until a program calls
`configure`, as the command line and the processes of a run do, or adds handlers of its own; those must mask credentials
themselves.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import datetime, timezone
from types import TracebackType

from streamwatch.config import LogSettings
from streamwatch.sources.redact import redact_text

ROOT = "streamwatch"

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class RemoteTraceback(Exception):
    """A traceback that came from another process as text, to be given as `exc_info`."""


class TextFormatter(logging.Formatter):
    """`TIME LEVEL LOGGER: MESSAGE` in one line, and the traceback below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        own = logging.makeLogRecord(record.__dict__)
        own.exc_text = None  # another handler may have left the traceback there, with its credentials
        return super().format(own)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        return _time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return _shown(super().formatMessage(record)).replace("\n", "\\n")

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 - logging's name
        return _shown(super().formatException(ei))


class JsonFormatter(logging.Formatter):
    """One object a line: `time` (ISO 8601, UTC), `level`, `logger`, `message`, and the traceback as `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact_text(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = _shown(self.formatException(record.exc_info))
        return json.dumps(line)


class StandardError(logging.Handler):
    """Writes to what standard error is at that moment, so that lines come above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - logging's rule: what cannot be logged ends no program
            self.handleError(record)


def configure(settings: LogSettings) -> None:
    """Have this process write its log to standard error. Another call takes the place of the first."""
    logger = logging.getLogger(ROOT)
    for handler in [each for each in logger.handlers if isinstance(each, StandardError)]:
        logger.removeHandler(handler)
    handler = StandardError()
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    logger.addHandler(handler)
    logger.setLevel(settings.level.upper())
    logger.propagate = False


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")


def _shown(text: str) -> str:
    """Without credentials, colours (Ray's, in tracebacks of its workers) and other control characters."""
    plain = _COLOUR.sub("", redact_text(text))
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", plain)
