"""Running the cells of a sweep: what is missing in the ledger, in batches, until all is there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .batches import Batch, Row, Task
from .executors import Executor, WorkerDied
from .grid import Grid
from .ledger import Entry, Ledger

__all__ = ["Progress", "Runner"]

Progress = Callable[[int, int], None]
"""Called as progress(finished, wanted), in cells and seeds."""

_SHARE = 200  # times workers: what is under way, two batches a worker, is 1 % of the sweep at most
_POLL = 0.5


@dataclass
class Runner:
    """Fills a ledger with the cells of a grid; ``run`` may be called again for more of them.

    computed : cells and seeds run so far, those that failed included.
    """

    grid: Grid
    measures: tuple[str, ...]
    ledger: Ledger
    progress: Progress | None = None
    computed: int = 0
    _pace: float = 0.0  # seconds a run, lately
    _keys: dict[int, bytes] = field(default_factory=dict)
    _failed: set[tuple[int, int]] = field(default_factory=set)
    _suspects: set[tuple[int, int]] = field(default_factory=set)

    def key(self, cell: int) -> bytes:
        """What the ledger knows a cell by."""
        if cell not in self._keys:
            self._keys[cell] = self.grid.key(cell, self.measures)
        return self._keys[cell]

    def missing(self, cells: Iterable[int], seeds: Sequence[int]) -> list[Task]:
        """What the ledger has no numbers for, and this sweep has not seen fail."""
        found = []
        for cell in cells:
            known = self.ledger.seeds(self.key(cell))
            left = tuple(s for s in seeds if s not in known and (cell, s) not in self._failed)
            if left:
                found.append(Task(cell, self.grid.overrides(cell), left))
        return found

    def run(self, executor: Executor, cells: Sequence[int], seeds: Sequence[int]) -> None:
        """Run what is missing. Raises Unreachable where there is nobody left to run it."""
        tasks = self.missing(cells, seeds)
        wanted = len(cells) * len(seeds)
        left = sum(len(task.seeds) for task in tasks)
        finished = wanted - left
        largest = max(1, wanted // (_SHARE * executor.workers)) if executor.alone else wanted
        queue, suspects = deque(tasks), deque[Task]()
        pending: dict[Any, Batch] = {}
        self._show(finished, wanted)
        while queue or suspects or pending:
            # After a death everything that was under way is suspect, and runs one at a time: the next death
            # is that one's own.
            while queue or suspects:
                tried = any(self._suspected(batch) for batch in pending.values())
                if len(pending) >= (1 if suspects or tried else 2 * executor.workers):
                    break
                batch = (
                    self._batch(suspects, 1)
                    if suspects
                    else self._batch(queue, self._size(executor, largest))
                )
                pending[executor.submit(batch)] = batch
            for handle in executor.done(list(pending), _POLL):
                batch = pending.pop(handle)
                try:
                    rows = executor.collect(handle)
                except WorkerDied as death:
                    rows = self._mourn(batch, suspects, str(death))
                self._keep(rows)
                finished += len(rows)
                self._show(finished, wanted)

    def _suspected(self, batch: Batch) -> bool:
        return any((t.cell, seed) in self._suspects for t in batch.tasks for seed in t.seeds)

    def _mourn(self, batch: Batch, suspects: deque[Task], words: str) -> list[Row]:
        """Suspect the runs of a batch whose worker died; one that did so before, now alone, has failed."""
        singles = [Task(t.cell, t.overrides, (seed,)) for t in batch.tasks for seed in t.seeds]
        names = {(t.cell, t.seeds[0]) for t in singles}
        if len(names) == 1 and names <= self._suspects:
            ((cell, seed),) = names
            return [Row(cell, seed, 0.0, None, f"its worker died twice: {words}")]
        self._suspects |= names
        suspects.extend(singles)
        return []

    def _size(self, executor: Executor, largest: int) -> int:
        """Runs in the next batch: one until it is known how long they take."""
        if not self._pace:
            return 1
        return max(1, min(largest, round(executor.seconds / self._pace)))

    def _batch(self, queue: deque[Task], runs: int) -> Batch:
        taken: list[Task] = []
        while queue and runs > 0:
            task = queue.popleft()
            if len(task.seeds) > runs:
                queue.appendleft(task._replace(seeds=task.seeds[runs:]))
                task = task._replace(seeds=task.seeds[:runs])
            taken.append(task)
            runs -= len(task.seeds)
        return Batch(self.grid.experiment, self.measures, tuple(taken))

    def _keep(self, rows: Sequence[Row]) -> None:
        entries = [Entry(self.key(r.cell), r.seed, r.seconds, r.numbers, r.reason) for r in rows]
        cells = {r.cell for r in rows}
        texts = {self.key(cell): self.grid.canonical(cell, self.measures) for cell in cells}
        self.ledger.add(entries, texts)
        self.computed += len(rows)
        self._failed.update((r.cell, r.seed) for r in rows if r.numbers is None)
        taken = [r.seconds for r in rows if r.numbers is not None]
        if taken:
            mean = max(sum(taken) / len(taken), 1e-6)
            self._pace = mean if not self._pace else 0.7 * self._pace + 0.3 * mean

    def _show(self, finished: int, wanted: int) -> None:
        if self.progress is not None:
            self.progress(finished, wanted)
