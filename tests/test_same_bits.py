"""Every preset keeps its bits: numbers of some of its cells, beside the names that ledgers give them.

Bits are promised for one CPU type and one version of the libraries; elsewhere the numbers agree but for what
descents make of round-off. Written anew, where PHYSICS rises, by ``python tests/test_same_bits.py``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import llvmlite.binding  # type: ignore[import-untyped]
import numpy as np
import pytest
from threadpoolctl import threadpool_info

import numsim
from numsim.config.sources import presets
from numsim.runs.measures import PHYSICS
from numsim.runs.versions import versions
from numsim.sweeps.batches import Batch, Task, run_batch
from numsim.sweeps.sweepfile import load_sweep

FILE = Path(__file__).with_suffix(".json")
SEEDS = (0, 1)
AGREE = 1e-6
"""Relative, on another machine: descents end in hundreds of steps, each of which amplifies round-off."""


def machine() -> dict[str, Any]:
    """What bits depend on beside configuration and seed."""
    kernels = sorted({str(found.get("architecture")) for found in threadpool_info()})
    libraries = {name: version for name, version in versions().items() if name != "numsim"}
    return {"cpu": str(llvmlite.binding.get_host_cpu_name()), "blas": kernels, **libraries}


def swept(name: str) -> dict[str, list[str]]:
    """Numbers of the first, a middle and the last cell of a preset's sweep, by the ledger's key."""
    study = load_sweep(name)
    size, measures = study.grid.size, tuple(study.measures)
    found = {}
    for cell in sorted({0, size // 2 + size // 7, size - 1}):
        batch = Batch(study.grid.experiment, measures, (Task(cell, study.grid.overrides(cell), SEEDS),))
        key = study.grid.key(cell, measures).hex()
        for row in run_batch(batch):
            assert row.numbers is not None, row.reason
            found[f"{key} {row.seed}"] = [float(number).hex() for number in row.numbers]
    return found


def headline() -> dict[str, list[str]]:
    """What both arms end in, and a hash of every recorded coefficient of a run."""
    found = {}
    for seed in SEEDS:
        result = numsim.run(numsim.load("headline"), seed)
        assert result.simclr is not None
        assert result.pretraining is not None
        for name, arm in (("simclr", result.simclr), ("direct", result.direct)):
            numbers = [arm.train_loss, arm.test_loss, arm.test_error, float(arm.steps)]
            found[f"{name} {seed}"] = [float(number).hex() for number in numbers]
        kept = hashlib.blake2b(digest_size=16)
        for stage in (result.pretraining, result.simclr, result.direct):
            for variable in sorted(map(str, stage.trajectory.data_vars)):
                kept.update(np.ascontiguousarray(stage.trajectory[variable].values).tobytes())
        found[f"trajectories {seed}"] = [kept.hexdigest()]
    return found


@pytest.mark.compiled
@pytest.mark.parametrize("name", presets())
def test_a_preset_keeps_its_bits(name: str) -> None:
    kept = json.loads(FILE.read_text())
    assert kept["physics"] == PHYSICS
    found = headline() if name == "headline" else swept(name)
    expected = kept["presets"][name]
    assert list(found) == list(expected)
    if machine() == kept["machine"]:
        assert found == expected
        return
    for entry, numbers in expected.items():
        if not entry.startswith("trajectories"):
            values, wanted = ([float.fromhex(n) for n in side] for side in (found[entry], numbers))
            np.testing.assert_allclose(values, wanted, rtol=AGREE, atol=AGREE)


if __name__ == "__main__":
    kept = {name: headline() if name == "headline" else swept(name) for name in presets()}
    document = {"physics": PHYSICS, "machine": machine(), "presets": kept}
    FILE.write_text(json.dumps(document, indent=1) + "\n")
