"""scripts/bench/capture.py: what it makes of its measurements. Nothing here is held to a time."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # As when it is run: what lies beside it can be imported.
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("bench_capture", BENCH / "capture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_capture", module)
    spec.loader.exec_module(module)
    return module


def test_ratios_are_in_the_document_and_the_table(bench: ModuleType) -> None:
    runs = {
        name: bench.Measured([bench.run_once(command, dict(os.environ), 20.0)])
        for name, command in ((bench.ENVCHECK, ["true"]), ("peer", ["sleep", "0.1"]))
    }
    document = {"results": bench.results(runs), "missing": {"facter": "not installed"}}
    own, peer = (json.loads(json.dumps(document))["results"][name] for name in runs)
    assert own["ratio"] == 1
    assert peer["ratio"] == pytest.approx(peer["wall_ms"] / own["wall_ms"], abs=0.01)
    rows = bench.table(document).splitlines()
    assert [row.rpartition(" |")[0].rpartition("| ")[2] for row in rows[2:4]] == [
        "1.00",
        f"{peer['ratio']:.2f}",
    ]
    # Of a peer that was measured alone there is none.
    del runs[bench.ENVCHECK]
    assert "ratio" not in bench.results(runs)["peer"]
    assert bench.table({"results": bench.results(runs), "missing": {}}).endswith("|  |")
