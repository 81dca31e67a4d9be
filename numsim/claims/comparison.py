"""One comparison of a predicted with a measured number, and the statistics of its verdict.

A claim's check is a list of comparisons. Each has a probability of failing although the claim is true, which
is held to a level that makes a whole suite trustworthy:

    SUITE_LEVEL = 1e-3     a suite with correct code reports a false ``fails`` at most once in 1000,
    CLAIMS_AT_MOST = 40    shared equally by as many claims (Bonferroni: no independence is needed),
    LEVEL = 2.5e-5         and inside a claim by its k random comparisons, LEVEL / k each.

With the 28 claims of this package the bound is 28 * 2.5e-5 = 7e-4 a suite. Comparisons without randomness
(an identity to round-off) cannot fail by chance and take no share. The levels are exact for probability
statements (binomial) and laws (Kolmogorov-Smirnov); for means they are those of Student's t, exact for
Gaussian draws.

Systematic errors are not statistics: a limit at finite size is off by a stated ``order``, which is allowed in
full, and only what exceeds it is compared with the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..models.streams import fixed

__all__ = [
    "CLAIMS_AT_MOST",
    "LEVEL",
    "SUITE_LEVEL",
    "Comparison",
    "at_least",
    "at_most",
    "equals",
    "failure_rate",
    "follows",
    "frequency",
    "same_law",
    "slope",
]

Floats = npt.NDArray[np.float64]

SUITE_LEVEL = 1e-3
CLAIMS_AT_MOST = 40
LEVEL = SUITE_LEVEL / CLAIMS_AT_MOST
SHOWN = 0.95
"""Coverage of the intervals that are shown; verdicts use ``LEVEL``."""

_RESAMPLES = 400


@dataclass(frozen=True)
class Comparison:
    """Predicted against measured.

    relation : "=", "<=" or ">=", as in measured <= predicted.
    error : how far ``measured`` is from satisfying the relation (0 if it does), in its own unit.
    allowance : systematic error that is allowed. spread : standard error of ``measured`` with ``freedom``
    degrees of freedom. p_value : of an exact test, which then replaces spread; None otherwise.
    interval : 95 % interval of what is measured, or None. resolution : largest statistical tolerance at which
    the comparison still says something. reason : why nothing can be said, or "".
    """

    name: str
    predicted: float
    measured: float
    relation: str = "="
    error: float = 0.0
    allowance: float = 0.0
    spread: float = 0.0
    freedom: float = math.inf
    p_value: float | None = None
    interval: tuple[float, float] | None = None
    resolution: float = math.inf
    reason: str = ""

    @property
    def random(self) -> bool:
        """Whether a true claim could fail it by chance."""
        return self.p_value is not None or self.spread > 0

    def noise(self, level: float) -> float:
        """Deviation that chance alone exceeds with probability ``level``."""
        if not self.spread > 0:
            return 0.0
        from scipy.stats import t

        return float(t.isf(level / 2 if self.relation == "=" else level, self.freedom)) * self.spread

    def margin(self, level: float) -> float:
        """Share of the tolerance that is left: 1 no deviation, 0 at the limit, negative beyond it.

        1 - error / (allowance + noise) for numbers, 1 - log(p) / log(level) for exact tests.
        """
        if not (math.isfinite(self.measured) and math.isfinite(self.error)) or math.isnan(self.predicted):
            return -math.inf
        if self.p_value is not None:
            if not self.p_value > 0:
                return -math.inf
            return 1 - math.log(self.p_value) / math.log(level)
        tolerance = self.allowance + self.noise(level)
        if tolerance > 0:
            return 1 - self.error / tolerance
        return 1.0 if self.error == 0 else -math.inf

    def verdict(self, level: float) -> str:
        """``holds``, ``fails`` or ``inconclusive``."""
        if self.reason:
            return "inconclusive"
        if self.margin(level) < 0:
            return "fails"
        return "inconclusive" if self.noise(level) > self.resolution else "holds"


def _sample(draws: npt.ArrayLike) -> tuple[float, float, float, tuple[float, float] | None]:
    """Mean, standard error, degrees of freedom and 95 % interval; a single number has no error."""
    values = np.asarray(draws, dtype=np.float64).ravel()
    mean = float(np.mean(values)) if values.size else math.nan
    if values.size < 2 or not np.isfinite(values).all():
        return mean, 0.0, math.inf, None
    from scipy.stats import t

    spread = float(np.std(values, ddof=1)) / math.sqrt(values.size)
    freedom = float(values.size - 1)
    half = float(t.isf((1 - SHOWN) / 2, freedom)) * spread
    return mean, spread, freedom, (mean - half, mean + half)


def _compare(
    name: str,
    relation: str,
    predicted: float,
    draws: npt.ArrayLike,
    order: float,
    absolute: float,
    resolution: float,
) -> Comparison:
    predicted = float(predicted)
    measured, spread, freedom, interval = _sample(draws)
    difference = measured - predicted
    error = {"=": abs(difference), "<=": max(difference, 0.0), ">=": max(-difference, 0.0)}[relation]
    size = abs(predicted)
    return Comparison(
        name,
        predicted,
        measured,
        relation,
        error if math.isfinite(difference) else math.inf,
        allowance=order * size + absolute,
        spread=spread,
        freedom=freedom,
        interval=interval,
        resolution=max(resolution * size, absolute),
    )


def equals(
    name: str,
    predicted: float,
    draws: npt.ArrayLike,
    *,
    order: float = 0.0,
    absolute: float = 0.0,
    resolution: float = 0.25,
) -> Comparison:
    """The mean of independent draws (or one number) equals ``predicted`` but for a stated error order.

    Fails where |mean - predicted| exceeds order |predicted| + absolute + t times the standard error.
    order : relative systematic error, e.g. 2 / n0; absolute : the same in the unit of the number.
    resolution : the comparison is inconclusive where the noise is a larger share of ``predicted`` than this
    (or than ``absolute``, if that is more): a check that noise could not fail says nothing.
    """
    return _compare(name, "=", predicted, draws, order, absolute, resolution)


def at_most(
    name: str,
    bound: float,
    draws: npt.ArrayLike,
    *,
    order: float = 0.0,
    absolute: float = 0.0,
    resolution: float = 0.25,
) -> Comparison:
    """The mean of draws (or one number) is at most ``bound``; the rest as for ``equals``."""
    return _compare(name, "<=", bound, draws, order, absolute, resolution)


def at_least(
    name: str,
    bound: float,
    draws: npt.ArrayLike,
    *,
    order: float = 0.0,
    absolute: float = 0.0,
    resolution: float = 0.25,
) -> Comparison:
    """The mean of draws (or one number) is at least ``bound``; the rest as for ``equals``."""
    return _compare(name, ">=", bound, draws, order, absolute, resolution)


def failure_rate(name: str, at_most: float, failures: int, trials: int) -> Comparison:
    """An event that may fail with probability at most delta = ``at_most`` failed ``failures`` times.

    Exact one-sided binomial test, p = P(Binomial(trials, delta) >= failures); Clopper-Pearson interval.
    """
    from scipy.stats import binom

    p_value = float(binom.sf(failures - 1, trials, at_most))
    # Would failure in every trial be noticed, beside nine more comparisons? If not, nothing could be.
    blind = trials == 0 or float(binom.sf(trials - 1, trials, at_most)) > LEVEL / 10
    reason = f"{trials} trials cannot refute a probability of {at_most:g}" if blind else ""
    return _counted(name, "<=", at_most, failures, trials, p_value, reason)


def frequency(name: str, probability: float, count: int, trials: int) -> Comparison:
    """An event of exactly this probability happened ``count`` times; two-sided exact binomial test."""
    from scipy.stats import binomtest

    p_value = float(binomtest(count, trials, probability).pvalue) if trials else 1.0
    blind = min(probability**trials, (1 - probability) ** trials) > LEVEL / 10
    reason = f"{trials} trials cannot refute a probability of {probability:g}" if blind else ""
    return _counted(name, "=", probability, count, trials, p_value, reason)


def _counted(
    name: str, relation: str, predicted: float, count: int, trials: int, p_value: float, reason: str
) -> Comparison:
    from scipy.stats import binomtest

    measured = count / trials if trials else math.nan
    interval = None
    if trials:
        found = binomtest(count, trials).proportion_ci(SHOWN, method="exact")
        interval = (float(found.low), float(found.high))
    difference = measured - predicted
    error = abs(difference) if relation == "=" else max(difference, 0.0)
    return Comparison(
        name, predicted, measured, relation, error, p_value=p_value, interval=interval, reason=reason
    )


def slope(
    name: str,
    predicted: float,
    x: npt.ArrayLike,
    draws: npt.ArrayLike,
    *,
    absolute: float,
    resolution: float = 0.25,
) -> Comparison:
    """The exponent of y ~ x^slope: log(mean of draws) fitted against log x by least squares.

    x : (L,) a ladder; draws : (L, N), N independent draws at each rung, all means positive. The standard
    error is that of a bootstrap over draws within rungs, the tolerance Student's t with N - 1 degrees of
    freedom times it, plus ``absolute``, the error of the exponent at finite size. resolution : largest noise
    of the exponent at which the fit still says something. The resampling is seeded: same draws, same verdict.
    """
    ladder, values = np.log(np.asarray(x, dtype=np.float64)), np.asarray(draws, dtype=np.float64)
    values = values.reshape(len(ladder), -1)
    weights = (ladder - ladder.mean()) / np.sum((ladder - ladder.mean()) ** 2)
    means = values.mean(axis=1)
    if not (np.isfinite(values).all() and (means > 0).all()):
        return Comparison(name, predicted, math.nan)
    measured = float(weights @ np.log(means))
    count = values.shape[1]
    spread, interval, freedom = 0.0, None, math.inf
    if count > 1:
        rng = fixed()
        chosen = rng.integers(0, count, size=(_RESAMPLES, *values.shape))
        resampled = np.take_along_axis(values[None], chosen, axis=2).mean(axis=2)
        fits = np.log(np.maximum(resampled, np.finfo(np.float64).tiny)) @ weights
        low, high = np.quantile(fits, [(1 - SHOWN) / 2, (1 + SHOWN) / 2])
        spread = float(np.std(fits, ddof=1)) * math.sqrt(count / (count - 1))
        interval, freedom = (float(low), float(high)), float(count - 1)
    return Comparison(
        name,
        float(predicted),
        measured,
        error=abs(measured - predicted),
        allowance=absolute,
        spread=spread,
        freedom=freedom,
        interval=interval,
        resolution=max(resolution, absolute),
    )


def follows(name: str, cdf: Callable[[Floats], Floats], draws: npt.ArrayLike) -> Comparison:
    """Independent draws follow the law with this distribution function: Kolmogorov-Smirnov, exact.

    Predicted and measured are the greatest distance expected at LEVEL and the one found.
    """
    from scipy.stats import ksone, kstest

    values = np.asarray(draws, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        return Comparison(name, 0.0, math.nan, "<=")
    found = kstest(values, cdf)
    limit = float(ksone.isf(LEVEL / 2, values.size))
    return _distance(name, limit, float(found.statistic), float(found.pvalue))


def same_law(name: str, first: npt.ArrayLike, second: npt.ArrayLike) -> Comparison:
    """Two sets of independent draws have one law: two-sample Kolmogorov-Smirnov, exact.

    Predicted and measured are the greatest distance expected at LEVEL and the one found.
    """
    from scipy.stats import ks_2samp

    a, b = (np.asarray(values, dtype=np.float64).ravel() for values in (first, second))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return Comparison(name, 0.0, math.nan, "<=")
    found = ks_2samp(a, b)
    limit = math.sqrt(-math.log(LEVEL / 2) / 2 * (a.size + b.size) / (a.size * b.size))
    return _distance(name, limit, float(found.statistic), float(found.pvalue))


def _distance(name: str, limit: float, distance: float, p_value: float) -> Comparison:
    error = max(distance - limit, 0.0)
    return Comparison(name, limit, distance, "<=", error, p_value=p_value, interval=None)
