"""Clusters as `ray start` makes them: a head, and further nodes that are real ones to Ray, all on this machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streamwatch.bench.loopback.rtsp_server import free_port
from tests.support.paths import ROOT
from tests.support.processes import descendants

STREAMWATCH = (sys.executable, "-c", "from streamwatch.cli.main import main; main()")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": uuid.uuid4().hex,
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # a node that is to end waits for no work
}
STORE_BYTES = 256 << 20
_WAIT_FOR_NODE = """
import ray, sys, time
from tests.support.paths import ROOT
address, ip = sys.argv[1:]
ray.init(address=address, log_to_driver=False)
while not any(node["Alive"] and node["NodeManagerAddress"] == ip for node in ray.nodes()):
    time.sleep(0.1)
"""


@dataclass(frozen=True)
class RayNode:
    """address: of the cluster. pid: of the process above all others of the node. environment: of commands on it."""

    address: str
    pid: int
    environment: dict[str, str]

    def kill(self) -> None:
        """Kill -9 all of its processes, as when a machine loses its power."""
        os.kill(self.pid, signal.SIGSTOP)
        processes = list(descendants(self.pid))
        for process in (*processes, self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@contextlib.contextmanager
def ray_head(folder: Path, *options: str, cores: int = 2) -> Iterator[RayNode]:
    """A head. folder: what relative paths start from there. options: further ones of `ray start`."""
    port = free_port()
    where = ["--head", f"--port={port}", "--node-ip-address=127.0.0.1"]
    without = ["--include-dashboard=false", "--no-monitor"]
    with _started(folder, cores, [*where, *without, *options]) as pid:
        yield RayNode(f"127.0.0.1:{port}", pid, ENVIRONMENT)


@contextlib.contextmanager
def ray_node(folder: Path, head: RayNode, ip: str, cores: int = 2) -> Iterator[RayNode]:
    """A further node, with an address of its own, once it has joined."""
    with _started(folder, cores, [f"--address={head.address}", f"--node-ip-address={ip}"]) as pid:
        wait = [sys.executable, "-c", _WAIT_FOR_NODE, head.address, ip]
        subprocess.run(wait, env=ENVIRONMENT, check=True, timeout=120, capture_output=True)
        yield RayNode(head.address, pid, ENVIRONMENT)


@contextlib.contextmanager
def _started(folder: Path, cores: int, options: list[str]) -> Iterator[int]:
    command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block"]
    common = [f"--num-cpus={cores}", f"--object-store-memory={STORE_BYTES}"]
    without = ["--disable-usage-stats", "--include-log-monitor=false"]
    with subprocess.Popen(
        [*command, *common, *without, *options],
        env=ENVIRONMENT,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait(30)
