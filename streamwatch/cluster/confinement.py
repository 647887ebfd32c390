"""Keeps Ray to this machine, this user and the code that is installed.

Ray has no settings for some of it. `tests/cluster/test_private_cluster.py` checks from outside that it holds.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ray._private import node, ray_constants
from ray.job_config import JobConfig


class InstalledCode(JobConfig):
    """A job whose workers import what is installed and what PYTHONPATH names, and nothing else: Ray would put the
    current folder first on their search path, and a `numpy.py` that lies among somebody's videos would be executed.
    """

    def _get_proto_job_config(self) -> Any:
        self._py_driver_sys_path: list[str] = []
        return super()._get_proto_job_config()  # type: ignore[no-untyped-call]


def write_token(folder: Path) -> Path:
    """A new token that only this user can read; its path."""
    path = folder / "token"
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(secrets.token_hex(32), encoding="ascii")
    return path


def local_environment(token: Path) -> dict[str, str | None]:
    """Variables for the processes of a local cluster, which inherit them.

    They import this very package, installed or not, and nothing from the current folder.
    """
    package = str(Path(__file__).resolve().parents[2])
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))  # an empty entry is the current folder
    return {
        "PYTHONPATH": os.pathsep.join((package, *given)),
        "PYTHONSAFEPATH": "1",
        "RAY_AUTH_TOKEN": None,
        "RAY_AUTH_TOKEN_PATH": str(token),
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
    }


@contextlib.contextmanager
def environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables of this process for a while; None: remove them."""
    before = {name: os.environ.get(name) for name in values}
    _set_variables(values)
    try:
        yield
    finally:
        _set_variables(before)


def _set_variables(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def confined() -> Iterator[None]:
    """For the start of Ray on this machine.

    It takes 127.0.0.1 for the address of the machine, as it does where it makes no clusters, so that its processes
    listen there only and look for no route to the internet. It leaves out its dashboard, which would otherwise run
    unasked and query the metadata services of clouds.
    """
    with (
        _replaced(ray_constants, "ENABLE_RAY_CLUSTER", False),
        _replaced(node.Node, "start_api_server", _start_nothing),
    ):
        yield


def _start_nothing(_: node.Node, **__: object) -> None:
    pass


@contextlib.contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
