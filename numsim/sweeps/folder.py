"""The folder of a sweep: made if need be, and kept from the results of any other experiment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..config.errors import ConfigError, fault
from ..config.experiment import Experiment, flat_settings
from ..config.values import DISPLACES, merge
from ..models.checks import show
from ..runs.folders import LEDGER, RESULT, RESULTS, SWEEP, clear, differences, other_physics, strangers
from ..runs.measures import MEASURES
from .criteria import swept_experiment
from .grid import Grid
from .ledger import Ledger
from .results import load_results

__all__ = ["Owner", "prepared"]


def prepared(given: str | os.PathLike[str], resume: bool = True) -> Path:
    """The folder of a sweep, made if need be; ConfigError where there can be none."""
    folder = Path(given)
    try:
        if not os.fspath(given):
            raise ConfigError(fault("out", "an empty path", "the path of a folder; . is this one"))
        if folder.exists() and not folder.is_dir():
            raise ConfigError(fault("out", show(str(folder)), "a folder; this is a file"))
        if not resume and (folder / LEDGER).exists():
            expected = "a folder without a ledger; resume = True goes on with this one"
            raise ConfigError(fault("out", show(str(folder)), expected))
        folder.mkdir(parents=True, exist_ok=True)
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ConfigError(fault("out", show(str(folder)), f"a folder that can be made ({reason})")) from error
    return folder


class Owner:
    """A sweep as its folder knows it: the settings that its axes do not vary, and what is measured.

    Other values of the axes, and other seeds, are the same experiment.
    """

    def __init__(self, grid: Grid, measures: Sequence[str]) -> None:
        """Know the sweep by its grid and its measures."""
        self.grid, self.measures = grid, measures

    def claim(self, out: Path, ledger: Ledger | None, replace: bool) -> None:
        """Refuse a folder that holds another experiment, or empty it."""
        if other := self._other(out, ledger):
            if not replace:
                raise ConfigError(f"{out} holds {other}; choose another folder, or replace it (--replace)")
            if ledger is not None:
                ledger.clear()
                clear(out)
        if ledger is not None:
            ledger.owner = self._name

    def _other(self, out: Path, ledger: Ledger | None) -> str:
        """What a folder holds, in words, other than this sweep with perhaps other values and seeds."""
        if (out / RESULT).exists():
            return "a run"
        wanted = self._document(self.grid.overrides(0), self.grid.experiment, self.measures)
        mine = ledger is not None and ledger.owner == self._name
        texts = [] if ledger is None or mine else ledger.texts()  # 50 us each, of perhaps millions
        for text in texts:
            kept = json.loads(text)
            if found := differences(self._fixed(kept["settings"], kept["measures"]), wanted):
                return f"another experiment ({found})"
        if not (out / RESULTS).exists():
            return "" if mine or texts else strangers(out, SWEEP)
        saved = load_results(out / RESULTS)
        if saved is None:
            return f"a {RESULTS} that cannot be read"
        axes = {
            str(k): v.values.tolist() for k, v in saved.coords.items() if k not in ("arm", "seed", "cluster")
        }
        varied = {name: values[0] if len(values) == 1 else values for name, values in axes.items()}
        measured = [name for name in MEASURES if {v.name for v in MEASURES[name]} <= set(saved.data_vars)]
        found = differences(self._document(varied, swept_experiment(saved), measured), wanted)
        return f"another experiment ({found})" if found else other_physics(saved)

    def _document(
        self, overrides: Mapping[str, object], experiment: Experiment, measures: Sequence[str]
    ) -> dict[str, object]:
        return self._fixed(merge([flat_settings(experiment), overrides]), measures)

    @property
    def _name(self) -> str:
        """What a ledger knows this sweep by, whatever values and seeds it has."""
        axes = sorted(name for axis in self.grid.axes for name in (axis.name, *axis.tied))
        wanted = self._document(self.grid.overrides(0), self.grid.experiment, self.measures)
        return json.dumps({"axes": axes, "fixed": wanted}, sort_keys=True)

    def _fixed(self, settings: Mapping[str, object], measures: Sequence[str]) -> dict[str, object]:
        """What makes a sweep the same experiment: the settings that its axes do not vary, and measures."""
        varied = {name for axis in self.grid.axes for name in (axis.name, *axis.tied)} | {"seed"}
        for name in tuple(varied):  # what these displace differs from cell to cell
            varied |= {*DISPLACES.get(name, ())}
        if "pretraining.loss" in varied:
            varied.add("pretraining.temperature")
        fixed = {name: value for name, value in settings.items() if name not in varied}
        return {**fixed, "sweep.measure": sorted(measures)}
