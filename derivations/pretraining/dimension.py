"""How small the dimension may be: d >= n0^4 is what the proofs ask for, this measures what breaks when.

    python -m numsim.derivations.pretraining.dimension [--quick]

Three things that high dimension is for, and the d at which each is lost, as an exponent of n0:

alignment    cos^2(v_1, mu) within 5 % of its limit 2 kappa / (1 + 2 kappa) for d >> n0 (P2)
fine-tuning  test error of the pre-trained and fine-tuned network at most 5 % (S5)
cross terms  max |<xi_i, xi_k>| / |xi_i|^2 at most 1/n0, so that n0 of them do not add up to a norm (C1)

The first two are measured at fixed kappa = n0 SNR^2 and at fixed SNR. Predicted exponents: alignment,
d = n0/c with the aspect c at which the closed form of P2 is 5 % short; cross terms, n0^2 times a logarithm.
Fine-tuning needs n SNR^2 times the signal's ratio to fresh noise above a constant (S4 at q = 3), at most
sqrt(2 n0) SNR^2 sqrt(d) (P3): d ~ n0^-1 SNR^-8, which at fixed kappa is n0^3. While n SNR^2 is of order 1 the
filters' maximum over m makes up for part of it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from numsim.claims import Comparison, slope
from numsim.config import Experiment
from numsim.descent.blas import blas_threads
from numsim.descent.power_matrix import top_eigenpairs
from numsim.models.space import Space
from numsim.runs.draw import draw
from numsim.runs.simulate import simulate
from numsim.theory import spectrum

__all__ = ["alignment_limit", "main"]

Floats = npt.NDArray[np.float64]

SHORT = 0.05
ERROR = 0.05


def alignment_limit(kappa: float) -> float:
    """The aspect c = n0/d at which cos^2(v_1, mu) is 5 % below its limit for c -> 0."""
    from scipy.optimize import brentq

    def excess(log_aspect: float) -> float:
        return spectrum(kappa, math.exp(log_aspect)).alignment / spectrum(kappa).alignment - (1 - SHORT)

    return math.exp(brentq(excess, -20.0, 10.0))


def _crossing(dims: Sequence[int], bad: Floats, limit: float) -> float:
    """The d below which ``bad`` (one value a rung, d ascending) exceeds the limit, interpolated.

    NaN where the ladder does not bracket it.
    """
    over = np.flatnonzero(bad > limit)
    if over.size == 0 or over[-1] == len(dims) - 1:
        return math.nan
    k = int(over[-1])
    share = (bad[k] - limit) / (bad[k] - bad[k + 1])
    return float(dims[k] * (dims[k + 1] / dims[k]) ** share)


def _ladder(centre: float) -> list[int]:
    return sorted({max(2, round(centre * 2.0**k)) for k in range(-3, 4)})


def _short_of_alignment(n0: int, snr: float, dim: int, seed: int) -> float:
    """Relative shortfall of cos^2(v_1, mu) from 2 kappa / (1 + 2 kappa) in one draw, labels balanced."""
    e = Experiment(
        data={"dim": dim, "snr": snr, "balanced": True},
        network={"filters": 1},
        pretraining={"samples": n0},
        finetuning={"samples": 2},
    )
    instance = draw(e, seed)
    assert instance.unlabelled is not None
    z, z_aug = instance.unlabelled.sums(instance.mu)
    _, vectors = top_eigenpairs(z, z_aug, learning_rate=1 / dim, temperature=1.0)
    aligned = float((vectors[:, 0] @ instance.direction) ** 2)
    return 1 - aligned / spectrum(e.kappa).alignment


def _test_error(n0: int, snr: float, dim: int, seed: int) -> float:
    """Test error after pre-training and fine-tuning at the headline's settings."""
    e = Experiment(
        seed=seed,
        data={"dim": dim, "snr": snr, "balanced": True},
        pretraining={"samples": n0},
        finetuning={"max_steps": 20_000},
        evaluation={"samples": 2000},
    ).resolved()
    arm = simulate(e, draw(e)).simclr
    assert arm is not None
    return arm.test.error


def _cross_terms(n0: int, dim: int, seed: int) -> float:
    """n0 max |<xi_i, xi_k>| / |xi_i|^2."""
    xi = Space(dim).draw(n0, 1.0, np.random.default_rng(seed), projected=True)
    gram = np.abs(xi @ xi.T)
    squares = np.diag(gram).copy()
    np.fill_diagonal(gram, 0.0)
    return float(n0 * np.max(gram / squares[:, None]))


Measure = Callable[[int, int, int], float]


def _exponent(
    name: str,
    predicted: float,
    sizes: Sequence[int],
    centres: Sequence[float],
    measure: Measure,
    limit: float,
    blocks: int,
    draws: int,
    average: Callable[[list[float]], float] = statistics.fmean,
) -> tuple[Comparison, Floats]:
    """Crossings (sizes, blocks), each from averages of ``draws`` draws, and the slope of their logarithm."""
    crossings = np.empty((len(sizes), blocks))
    for row, (n0, centre) in enumerate(zip(sizes, centres, strict=True)):
        dims = _ladder(centre)
        for block in range(blocks):
            seeds = range(block * draws, (block + 1) * draws)
            bad = np.array([average([measure(n0, dim, seed) for seed in seeds]) for dim in dims])
            crossings[row, block] = _crossing(dims, bad, limit)
    return slope(name, predicted, sizes, crossings, absolute=0.1, resolution=1.0), crossings


def _fixed(kappa: float | None, snr: float, measure: Callable[[int, float, int, int], float]) -> Measure:
    """``measure`` at fixed kappa, or at fixed SNR where kappa is None."""
    return lambda n0, dim, seed: measure(n0, snr if kappa is None else math.sqrt(kappa / n0), dim, seed)


def measurements(quick: bool) -> list[tuple[Comparison, Sequence[int], Floats]]:
    """All five ladders: the exponent, the sizes n0 and the critical dimensions found."""
    sizes = [26, 50, 100] if quick else [26, 50, 100, 200, 400]
    few = sizes[:3] if quick else sizes[:4]
    blocks, draws = (3, 2) if quick else (6, 4)
    found: list[tuple[Comparison, Sequence[int], Floats]] = []
    aspects = [alignment_limit(1.0)] * len(sizes)
    at_snr = [n0 / alignment_limit(n0 * 0.01) for n0 in sizes]
    trend = float(np.polyfit(np.log(sizes), np.log(at_snr), 1)[0])
    for name, predicted, ns, centres, measure, limit, repeats in (
        (
            "alignment, kappa = 1",
            1.0,
            sizes,
            [n / c for n, c in zip(sizes, aspects, strict=True)],
            _fixed(1.0, 0.0, _short_of_alignment),
            SHORT,
            draws,
        ),
        ("alignment, SNR = 0.1", trend, sizes, at_snr, _fixed(None, 0.1, _short_of_alignment), SHORT, draws),
        (
            "fine-tuning, kappa = 1",
            3.0,
            sizes,
            [0.1 * n**2.2 for n in sizes],
            _fixed(1.0, 0.0, _test_error),
            ERROR,
            draws + 1,
        ),
        (
            "fine-tuning, SNR = 0.2",
            -1.0,
            few,
            [5000.0 / n for n in few],
            _fixed(None, 0.2, _test_error),
            ERROR,
            draws + 1,
        ),
        ("cross terms", 2.0, sizes, [n**2 * 4 * math.log(n) for n in sizes], _cross_terms, 1.0, draws),
    ):
        # A network that loses a class whose filters all point away errs at any d: the median leaves it out.
        average = statistics.median if name.startswith("fine-tuning") else statistics.fmean
        row, crossings = _exponent(name, predicted, ns, centres, measure, limit, blocks, repeats, average)
        found.append((row, ns, crossings))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, for each ladder, the critical dimensions and the exponent of n0 with its 95 % interval."""
    parser = argparse.ArgumentParser(description="how small the dimension may be")
    parser.add_argument("--quick", action="store_true", help="n0 up to 100, fewer draws")
    quick = parser.parse_args(arguments).quick
    start = time.perf_counter()
    with blas_threads(1):
        for row, sizes, crossings in measurements(quick):
            low, high = row.interval or (math.nan, math.nan)
            exponent = f"d ~ n0^{row.measured:.2f} [{low:.2f}, {high:.2f}]"
            print(f"{row.name:24s} {exponent}, predicted {row.predicted:.2f}")
            for n0, found in zip(sizes, crossings, strict=True):
                mean = float(np.exp(np.mean(np.log(found))))
                ratios = f"d*/n0 = {mean / n0:8.3g}   n0^4 / d* = {n0**4 / mean:.3g}"
                print(f"    n0 = {n0:4d}   d* = {mean:10.4g}   {ratios}")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
