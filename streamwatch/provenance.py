"""What a file's C2PA manifest says about its origin, if it carries one. Nothing is ever fetched."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from streamwatch.distribution import install_extra
from streamwatch.enums import StrEnum
from streamwatch.sources import Location, redact

OFFLINE = {
    "core": {"allowed_network_hosts": [], "decode_identity_assertions": False},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}
"""Settings of the c2pa library. Each of the last two would reach for the network; the empty list forbids every host."""

UNTRUSTED = "signingCredential.untrusted"
"""The code of a signer whom no trust list names: of every signer, as the library is given none."""


LONGEST, MOST = 300, 20
"""Characters of a text, and items of a list, that a summary keeps of what a manifest may make as long as it likes."""


class ProvenanceState(StrEnum):
    """The state of a file's manifest.

    `trusted`, `valid`: signature and content agree; the signer is, or is not, on a trust list. `invalid`: they do not
    agree. `elsewhere`: the file names a manifest on a server. `none`: it carries none. `unreadable`: the container or
    the manifest is damaged. `unsupported`: manifests are not read from such containers. `not_looked`: nobody looked.
    """

    TRUSTED = "trusted"
    VALID = "valid"
    INVALID = "invalid"
    ELSEWHERE = "elsewhere"
    NONE = "none"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    NOT_LOOKED = "not_looked"


@dataclass(frozen=True, slots=True)
class Provenance:
    """A summary of the active manifest. All texts are what the file claims, except `state` and `problems`.

    detail: why there is no summary. signer, issuer: of the signing certificate. signed_at: as a time stamp says.
    generator: the program that made the claim. actions: what was done, with the kind of source where it is named.
    ingredients: number of files that went into this one. problems: what the validation found wrong.
    """

    state: ProvenanceState
    detail: str = ""
    signer: str = ""
    issuer: str = ""
    signed_at: str = ""
    generator: str = ""
    actions: tuple[str, ...] = ()
    ingredients: int = 0
    problems: tuple[str, ...] = ()

    @property
    def summarised(self) -> bool:
        """Whether there was a manifest that could be read."""
        return self.state in (ProvenanceState.TRUSTED, ProvenanceState.VALID, ProvenanceState.INVALID)


def read_provenance(source: Location) -> Provenance:
    """Read and validate the C2PA manifest of a file; needs the extra `c2pa`.

    Whatever the file holds has a state, and nothing is raised.
    """
    if source.is_url:
        return Provenance(ProvenanceState.NOT_LOOKED, "only local files are looked at")
    try:
        c2pa = importlib.import_module("c2pa")
    except ImportError:
        return Provenance(ProvenanceState.NOT_LOOKED, f"it needs {install_extra('c2pa')}")
    try:
        with source.path.open("rb") as file, c2pa.Context.from_dict(OFFLINE) as context:
            reader = c2pa.Reader.try_create(None, file, context=context)
            if reader is None:
                return Provenance(ProvenanceState.NONE)
            with reader:
                return _summary(json.loads(reader.json()))
    except OSError as error:
        return Provenance(ProvenanceState.UNREADABLE, f"the file cannot be read ({error.strerror})")
    except c2pa.C2paError as error:
        return _failed(error, unsupported=isinstance(error, c2pa.C2paError.NotSupported))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        return Provenance(ProvenanceState.UNREADABLE, f"the manifest is not of the expected form ({error})")


def _failed(error: Exception, *, unsupported: bool) -> Provenance:
    message = str(error)
    if unsupported:
        return Provenance(ProvenanceState.UNSUPPORTED, "manifests are not read from containers of this kind")
    if message.startswith("Remote:"):
        place = re.search(r"\w+://\S+", message)
        return Provenance(ProvenanceState.ELSEWHERE, redact(place[0]) if place else "")
    return Provenance(ProvenanceState.UNREADABLE, re.sub(r"^\w+: ", "", message))


def _summary(report: Mapping[str, Any]) -> Provenance:
    manifest = report["manifests"][report["active_manifest"]]
    signature = manifest.get("signature_info") or {}
    return Provenance(
        state=ProvenanceState(report["validation_state"].lower()),
        signer=_text(signature.get("common_name")),
        issuer=_text(signature.get("issuer")),
        signed_at=_text(signature.get("time")),
        generator=_text(_generator(manifest)),
        actions=_some(_actions(manifest)),
        ingredients=len(manifest.get("ingredients") or ()),
        problems=_some(
            f"{item['code']}: {item.get('explanation') or ''}".removesuffix(": ")
            for item in report.get("validation_status") or ()
            if item["code"] != UNTRUSTED
        ),
    )


def _text(value: object) -> str:
    text = str(value or "")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _some(texts: Iterable[str]) -> tuple[str, ...]:
    found = [_text(text) for text in texts]
    more = [f"and {len(found) - MOST} more"] if len(found) > MOST else []
    return (*found[:MOST], *more)


def _generator(manifest: Mapping[str, Any]) -> str:
    """Program and version; older manifests have one line of text."""
    named = [_program(item) for item in manifest.get("claim_generator_info") or ()]
    return ", ".join(named) or str(manifest.get("claim_generator") or "")


def _program(item: Mapping[str, Any]) -> str:
    return " ".join(str(item[key]) for key in ("name", "version") if item.get(key))


def _actions(manifest: Mapping[str, Any]) -> list[str]:
    actions = [
        action
        for assertion in manifest.get("assertions") or ()
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"]["actions"]
    ]
    return [_action(action) for action in actions]


def _action(action: Mapping[str, Any]) -> str:
    """Such as `c2pa.created (digitalCapture)`; kinds of sources are IPTC's URLs, of which the end says it."""
    kind = str(action.get("digitalSourceType") or "").rsplit("/", 1)[-1]
    return f"{action['action']} ({kind})" if kind else str(action["action"])
