"""What a run on this machine shows to others, sends to them and takes from them: nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SCAN = """
import json, os, pathlib, stat, sys
import ray
from streamwatch.cluster.connection import connect
from streamwatch.config import EngineSettings
from tests.support.processes import descendants


def listening():
    inodes = set()
    for process in [os.getpid(), *descendants(os.getpid())]:
        for link in pathlib.Path(f"/proc/{process}/fd").iterdir():
            try:
                target = os.readlink(link)
            except OSError:
                continue
            inodes.add(target.removeprefix("socket:[").rstrip("]"))
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:  # 0A: it listens
                yield fields[1].split(":")[0]


class Worker:
    def look(self):
        import numpy
        from streamwatch.config import FaceSettings
        from streamwatch.faces import load_face_detector
        load_face_detector(FaceSettings())
        return sys.path, os.getcwd(), numpy.__file__, pathlib.Path("beside.txt").read_text()


with connect(EngineSettings()):
    actor = ray.remote(Worker).remote()
    path, folder, module, text = ray.get(actor.look.remote())
    token = pathlib.Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    print(json.dumps({
        "path": path, "folder": folder, "numpy": module, "text": text,
        "addresses": sorted(set(listening())),
        "modes": [stat.S_IMODE(entry.stat().st_mode) for entry in (token.parent, token)],
        "private": str(token.parent),
    }))
"""

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


@pytest.mark.ray
def test_a_local_cluster_is_private_and_runs_installed_code_only(tmp_path: Path) -> None:
    footage = tmp_path / "footage"
    footage.mkdir()
    (footage / "beside.txt").write_text("relative", encoding="utf-8")
    for name in ("numpy", "socket", "signal", "typing_extensions", "streamwatch", "sitecustomize"):
        (footage / f"{name}.py").write_text("open('EXECUTED', 'w').close()\n", encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text(SCAN, encoding="utf-8")
    long = tmp_path / ("long" * 25)
    long.mkdir()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "HOME": "/proc",
        "TMPDIR": str(long),
        "PYTHONPATH": str(ROOT),
    }
    trace = tmp_path / "connections"
    strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=connect,sendto", "-o", str(trace)]
    traced = shutil.which("strace") is not None
    done = subprocess.run(
        [*(strace if traced else ()), sys.executable, str(script)],
        cwd=footage,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert not (footage / "EXECUTED").exists()
    assert str(footage) not in found["path"]
    assert "" not in found["path"]
    assert "site-packages" in found["numpy"]
    assert (found["folder"], found["text"]) == (str(footage), "relative")
    assert found["addresses"]
    assert set(found["addresses"]) <= LOOPBACK
    assert found["modes"] == [0o700, 0o600]
    assert not Path(found["private"]).exists()
    assert list(long.iterdir()) == []
    if traced:
        text = trace.read_text(encoding="utf-8", errors="replace")
        called = re.findall(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"', text)
        assert {(four or six).removeprefix("::ffff:") for four, six in called} == {"127.0.0.1"}
