"""How a cluster is joined."""

from __future__ import annotations

import pytest

from streamwatch.config import EngineSettings


def test_a_cluster_that_cannot_start_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from streamwatch.cluster import connection as cluster
    from streamwatch.errors import ClusterError

    def fail(**_: object) -> None:
        raise Exception("The current node timed out\nduring startup")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(ClusterError, match=r"timed out during startup.*doctor"), cluster.connect(EngineSettings()):
        raise AssertionError("unreachable")
