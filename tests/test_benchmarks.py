"""The benchmarks' statistics, protocol and alternatives; times are not judged."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import roundoff

from benchmarks import __main__ as command
from benchmarks import harness, scaling, tables
from benchmarks.alternatives import numpy_descent
from benchmarks.figures import draw
from benchmarks.harness import OK, SKIPPED, UNEQUAL, Case, Protocol, Row, Sides, Unequal, run_case
from benchmarks.statistics import compare, exponent, interval, median
from benchmarks.works import WORKS
from numsim.descent import reference

ROOT = Path(__file__).parent.parent
TRIALS, LEAST_COVERED = 40, 30  # 95 % nominal; four processes are few for a percentile bootstrap
SMOKE = Protocol(processes=1, seconds=0.0, smoke=True)


def synthetic(rng: np.random.Generator, ratio: float) -> list[list[tuple[float, float]]]:
    """Pairs of four processes, with noise of processes and of calls, around a true ratio."""
    found = []
    for _ in range(4):
        own, other = np.exp(0.02 * rng.standard_normal(2))
        noise = np.exp(0.05 * rng.standard_normal((30, 2)))
        found.append([(own * a, ratio * other * b) for a, b in noise])
    return found


def test_medians_and_ratio_of_pairs() -> None:
    found = compare([[(1.0, 4.0), (2.0, 8.0)], [(3.0, 12.0)]])
    assert found == (2.0, 8.0, 4.0, 4.0, 4.0)


def test_interval_contains_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(TRIALS):
        found = compare(synthetic(rng, 10.0))
        assert found.low <= found.ratio <= found.high
        covered += found.low <= 10.0 <= found.high
    assert covered >= LEAST_COVERED


def test_interval_sees_processes_that_differ() -> None:
    same = [np.array([1.0, 1.1, 0.9] * 10)] * 3
    apart = [same[0], same[0] * 1.5, same[0] * 0.7]
    narrow, wide = interval(same, median), interval(apart, median)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_exponent_of_a_power_law() -> None:
    x = [1.0, 2.0, 4.0, 8.0]
    slope, error = exponent(x, [3.0 * value**1.7 for value in x])
    assert slope == pytest.approx(1.7, abs=roundoff(4))
    assert error <= roundoff(4)


def test_fitted_exponents_stand_beside_the_flop_counts() -> None:
    rows = [
        Row(
            "scaling",
            f"pre-training, n0 = {n}",
            "",
            1,
            "step",
            OK,
            numsim=1e-9 * n**2,
            facts={"samples": float(n), "filters": 10.0},
        )
        for n in (250, 500, 1000)
    ]
    (row,) = scaling.exponents(rows)
    assert row.facts["exponent"] == pytest.approx(2.0)
    assert row.facts["flop_exponent"] == pytest.approx(2.0)


@pytest.mark.parametrize("difference", [1e-3, float("nan")])
def test_sides_that_differ_are_refused(difference: float) -> None:
    sides = Sides(int, int, (1, 1), difference, 1e-10)
    with pytest.raises(Unequal, match="two sides differ by"):
        sides.check()


def differing(*, cores: int, seed: int) -> Sides:
    """A work whose sides do not agree."""
    return Sides(int, int, (1, 1), 0.5, 1e-10)


def agreeing(*, cores: int, seed: int) -> Sides:
    """A work whose sides agree, and that prints what nobody asked for."""
    print("chatter")
    return Sides(lambda: sum(range(100)), lambda: sum(range(1000)), (1, 2), 0.0, 0.0, {"cores": cores})


def case(name: str, **more: Any) -> Case:
    return Case("work", "setting", f"test_benchmarks:{name}", {}, "other", **more)


@pytest.fixture
def _children_find_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests"))


@pytest.mark.usefixtures("_children_find_this_module")
def test_a_work_whose_sides_differ_has_no_times() -> None:
    row = run_case(case("differing"), SMOKE)
    assert row.status == UNEQUAL
    assert "differ by 0.5" in row.words
    assert row.pairs == []


@pytest.mark.usefixtures("_children_find_this_module")
def test_every_process_gives_interleaved_pairs() -> None:
    row = run_case(case("agreeing"), Protocol(processes=2, seconds=0.0))
    assert row.status == OK, row.words
    assert len(row.pairs) == 2
    assert all(len(process) >= 5 for process in row.pairs)
    assert row.ratio_low is not None
    assert row.ratio is not None
    assert row.ratio_high is not None
    assert row.ratio_low <= row.ratio <= row.ratio_high
    assert Row(**json.loads(json.dumps(row.as_dict()))).numsim == row.numsim


@pytest.mark.usefixtures("_children_find_this_module")
def test_smoke_judges_no_time() -> None:
    row = run_case(case("agreeing"), SMOKE)
    assert row.status == OK
    assert row.ratio is None
    assert tables.cells(row)[7] == "–"


def test_a_target_that_breaks_is_a_failed_row() -> None:
    row = run_case(Case("work", "setting", "benchmarks.steps:nothing", {}), SMOKE)
    assert row.status == harness.FAILED
    assert "nothing" in row.words


def test_what_is_not_installed_is_skipped_with_a_word() -> None:
    row = run_case(case("agreeing", needs="no_such_library"), SMOKE)
    assert row.status == SKIPPED
    assert "no_such_library is not installed" in row.words
    assert "numsim[bench]" in " ".join(tables.cells(row))


def test_too_few_cores_are_skipped_with_a_word() -> None:
    row = run_case(case("agreeing", cores=10**6), SMOKE)
    assert row.status == SKIPPED
    assert "cores" in row.words


def test_unknown_names_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["pretrainin"]) == command.USAGE
    said = capsys.readouterr().err
    assert said.splitlines() == ["no work is called 'pretrainin'; nearest: pretraining, training"]


def test_places_that_cannot_be_written_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["latency", "--json", "no/such/folder/a.json"]) == command.USAGE
    assert "folder that exists" in capsys.readouterr().err


def test_every_work_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == command.DONE
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(WORKS)


def test_interrupted_keeps_what_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finished: list[Case] = []

    def interrupted(case: Case, protocol: Protocol) -> Row:
        if finished:
            raise KeyboardInterrupt
        finished.append(case)
        return Row(case.work, case.setting, case.alternative, case.cores, case.unit, OK, numsim=1.0)

    monkeypatch.setattr(command, "run_case", interrupted)
    file = tmp_path / "a.json"
    assert command.main(["latency", "--smoke", "--json", str(file)]) == command.INTERRUPTED
    document = json.loads(file.read_text())
    assert document["schema"] == 1
    assert document["interrupted"] is True
    assert [row["setting"] for row in document["rows"]] == [finished[0].setting]
    assert finished[0].setting in capsys.readouterr().out


def wait_for_the_end_of(group: int) -> None:
    """Raises ProcessLookupError once nobody is left in a group of processes."""
    for _ in range(100):
        os.killpg(group, 0)
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_from_outside_ends_with_130_and_leaves_nothing_running(
    tmp_path: Path, number: signal.Signals
) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "large", "--json", str(tmp_path / "a.json")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(2.0)
    running.send_signal(number)  # to the parent alone
    running.communicate()
    with pytest.raises(ProcessLookupError):
        wait_for_the_end_of(running.pid)
    assert running.returncode == command.INTERRUPTED
    assert json.loads((tmp_path / "a.json").read_text())["rows"] == []


@pytest.mark.parametrize("seed", range(3))
def test_numpy_gradients_are_the_reference_s(seed: int) -> None:
    drawn = reference.draw(np.random.default_rng(seed), dim=7, filters=3, unlabelled=5, labelled=4)
    found = numpy_descent.info_nce_gradient(drawn.W, drawn.z, drawn.z_aug)
    expected = reference.info_nce(drawn.W, drawn.z, drawn.z_aug)[1]
    assert found == pytest.approx(expected, rel=0, abs=roundoff(100, float(np.max(np.abs(expected)))))
    W = drawn.W.reshape(2, 3, 7)
    for q in (1.0, 2.5, 3.0):
        found = numpy_descent.logistic_gradient(W, drawn.x, drawn.observed, q)
        expected = reference.logistic_gradient(W, drawn.x, drawn.observed, q)
        assert found == pytest.approx(expected, rel=0, abs=roundoff(100, float(np.max(np.abs(expected)))))


@pytest.mark.compiled
def test_a_work_runs_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.json"
    code = command.main(["pretraining", "--smoke", "--json", str(file)])
    assert code == command.DONE, capsys.readouterr().err
    document = json.loads(file.read_text())
    assert {"machine", "versions", "protocol", "rows"} <= set(document)
    ran = [row for row in document["rows"] if row["status"] == OK]
    assert "NumPy" in [row["alternative"] for row in ran]
    assert all(row["difference"] <= row["tolerance"] for row in ran)


def sample_rows() -> list[Row]:
    """Rows of both figures and of the tables."""
    found = []
    for dim in (1e3, 1e4):
        facts = {"dim": dim, "pretraining": 1.0}
        pairs = [[(1e-6, 1e-9 * dim)] * 3]
        found.append(Row("dimension", "pre-training", "NumPy", 1, "step", OK, facts=facts, pairs=pairs))
        facts = {"dim": dim, "memory": 2e8}
        pairs = [[(1e-2, 1e-2)] * 3]
        found.append(Row("scaling", "whole run", "numsim", 1, "run", OK, facts=facts, pairs=pairs))
    for n in (250, 500):
        facts = {"samples": float(n), "filters": 10.0}
        point = Row("scaling", f"pre-training, n0 = {n}", "", 1, "step", OK, facts=facts)
        point.times, point.numsim = [[1e-9 * n**2] * 3], 1e-9 * n**2
        found.append(point)
    return found


def test_figures_are_drawn_and_repeat_to_the_byte(tmp_path: Path) -> None:
    written = draw(sample_rows(), tmp_path)
    assert {path.name for path in written} == {"dimension.png", "dimension.svg", "scaling.png", "scaling.svg"}
    before = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in draw(sample_rows(), tmp_path)] == before
    assert draw([], tmp_path) == []


def test_files_of_works_that_ran_apart_are_one_table() -> None:
    first = {"machine": 1, "rows": [{"work": "a", "setting": 1}, {"work": "b", "setting": 2}]}
    second = {"machine": 2, "rows": [{"work": "b", "setting": 3}, {"work": "b", "setting": 4}]}
    found = tables.merged([first, second])
    assert found["machine"] == 2
    assert [(row["work"], row["setting"]) for row in found["rows"]] == [("a", 1), ("b", 3), ("b", 4)]


def test_tables_go_between_the_markers() -> None:
    readme = tables.README.read_text()
    text = tables.between_markers(readme, tables.markdown(sample_rows()))
    assert text.count(tables.BEGIN) == text.count(tables.END) == 1
    assert "### dimension" in text
    assert text.startswith(readme.partition(tables.BEGIN)[0])
    with pytest.raises(ValueError, match="tables: begin"):
        tables.between_markers("no markers", "")
