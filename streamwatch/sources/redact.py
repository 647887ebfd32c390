"""URLs as they may be shown: without credentials.

What leaves this module goes to messages, logs and the store; it identifies a source there, so it must be
the same for the same source every time.
"""

from __future__ import annotations

import re

MASK = "***"

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)", re.DOTALL)
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]{1,19}://"  # bounded: a text may hold long runs of such characters
_RUN = re.compile(rf"{_SCHEME}\S+")
_ONE = re.compile(rf"{_SCHEME}(?:(?!{_SCHEME})\S)+")
_AUTHORITY = re.compile(r"[^/?#]*")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:\d*)?")
_PARAMETER = re.compile(r"(?P<before>[?&;#](?P<key>[^=&;#?]+)=)(?P<value>[^&;#]*)")
_SECRET_KEY = re.compile(
    r"token|secret|passw|passphrase|pwd|credential|signature|api[-_]?key|auth|jwt|session|hdn[et]"
    r"|^(key|pass|pw|psw|pass?code|loginpas|loginuse|sig|sign|pin|policy|streamid|user|username|usr|login)$",
    re.IGNORECASE,
)


def scheme_of(url: str) -> str:
    """The lower-case scheme of a URL, or an empty string for a path."""
    match = _URL.fullmatch(url)
    return match["scheme"].lower() if match else ""


def redact(url: str) -> str:
    """Mask `user:password@` and the values of secret query parameters; a path comes back unchanged.

    A password that holds an unescaped `/`, `?` or `#` ends the host part too early for a URL parser; such a
    URL is masked up to its last `@`.
    """
    match = _URL.fullmatch(url)
    if match is None:
        return url
    rest = match["rest"]
    credentials, at, _ = _authority(rest).rpartition("@")
    if at:
        rest = (f"{MASK}@" if credentials else "@") + rest[len(credentials) + 1 :]
    elif has_unescaped_password(url):
        rest = f"{MASK}@" + rest.rpartition("@")[2]
    return f"{match['scheme']}://" + _PARAMETER.sub(_mask_parameter, rest)


def has_unescaped_password(url: str) -> bool:
    """Whether a password seems to hold a `/`, `?` or `#`, which ends the host part of a URL."""
    match = _URL.fullmatch(url)
    if match is None:
        return False
    authority = _authority(match["rest"])
    return "@" not in authority and "@" in match["rest"] and not _HOST_AND_PORT.fullmatch(authority)


def _authority(rest: str) -> str:
    found = _AUTHORITY.match(rest)
    return found[0] if found else ""


def redact_text(text: str) -> str:
    """The URLs in a text masked as by `redact`, each up to the next blank or URL."""
    if "://" not in text:
        return text
    whole = _RUN.sub(lambda found: redact(found[0]), text)  # a password may hold what looks like another URL
    return _ONE.sub(lambda found: redact(found[0]), whole)


def _mask_parameter(parameter: re.Match[str]) -> str:
    if parameter["value"] and _SECRET_KEY.search(parameter["key"]):
        return parameter["before"] + MASK
    return parameter[0]
