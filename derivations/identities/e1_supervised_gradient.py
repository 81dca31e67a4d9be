"""E1: the gradient of the logistic loss, and descent along it, e1_supervised_gradient.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numsim import logistic_loss
from numsim.claims import Claim, Outcome, Trials, equals
from numsim.descent import reference
from numsim.descent.network import forward
from numsim.descent.supervised import train_dictionary
from numsim.models.signal_noise import Labelled, signal_noise_dictionary

from .quotient_figure import STEPS, figure
from .roundoff import Deviations, complex_gradient, difference_quotient

if TYPE_CHECKING:
    pass

Floats = npt.NDArray[np.float64]

_EXACT = 1e-11  # a few hundred sums and powers up to 20 of numbers of order 1: below 1e-13 in practice
_QUOTIENT = 1e-6  # h^2 L'''/6 + eps L/h at h = 1e-5 (note, Check)


class _Task(NamedTuple):
    """W (2, m, D), x (n, P, D), y (n,) observed labels, q, output_scale."""

    W: Floats
    x: Floats
    y: Floats
    q: float
    output_scale: float


def _tasks(rng: np.random.Generator) -> Iterator[_Task]:
    """Any patches: every power the kernel treats differently, P = 1 to 3 patches, largest <w, x> = 1.05."""
    for q, patches, scale in (
        (3.0, 2, 1.0),
        (1.0, 2, 1.0),
        (1.5, 3, 1.0),
        (2.0, 2, 0.5),
        (4.0, 1, 5.0),
        (5.0, 3, 1.0),
        (16.0, 2, 1.0),
        (17.0, 2, 2.0),
        (20.5, 2, 1.0),
    ):
        W, x = rng.standard_normal((2, 3, 4)), rng.standard_normal((5, patches, 4))
        x[1] = -x[0]  # patches may come twice, and with either sign
        x[2, 0] = x[0, 0]
        W *= 1.05 / np.max(np.abs(np.einsum("jrd,npd->jrnp", W, x)))
        yield _Task(W, x, rng.permutation([1.0, 1.0, 1.0, -1.0, -1.0]), q, scale)


class _Signal(NamedTuple):
    """Signal-noise samples: W (2, m, D), mu (D,), noise (n, D), true and observed labels (n,)."""

    W: Floats
    mu: Floats
    noise: Floats
    true: Floats
    observed: Floats

    @property
    def x(self) -> Floats:
        """The patches y_i mu and xi_i, (n, 2, D)."""
        return np.stack([self.true[:, None] * self.mu, self.noise], axis=1)

    @property
    def labelled(self) -> Labelled:
        """The same as numsim's container."""
        return Labelled(self.true, self.observed, self.noise)


def _signal_noise(rng: np.random.Generator) -> _Signal:
    """Six samples of which each class has one flipped label."""
    true = np.array([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    observed = true * np.array([1.0, -1.0, 1.0, 1.0, -1.0, 1.0])
    return _Signal(
        0.3 * rng.standard_normal((2, 3, 8)),
        1.5 * np.eye(8)[0],
        rng.standard_normal((6, 8)),
        true,
        observed,
    )


def _formula(case: _Signal, q: float, *, flips: bool, power: float) -> Floats:
    """E1 (8); ``flips`` False forgets the flip in the signal term, ``power`` is added to sigma's q - 1."""
    W, mu, noise, true, observed = case
    sign = np.array([1.0, -1.0])[:, None]
    on_signal, on_noise = np.multiply.outer(W @ mu, true), W @ noise.T
    output = np.sum(
        sign[..., None] * (np.maximum(on_signal, 0) ** q + np.maximum(on_noise, 0) ** q), axis=(0, 1)
    )
    pull = 1 / (1 + np.exp(observed * output / W.shape[1])) / (len(true) * W.shape[1])

    def slope(z: Floats) -> Floats:
        return q * np.where(z > 0, np.maximum(z, 1e-300) ** (q - 1 + power), 0.0)

    kept = observed * true if flips else np.ones_like(true)
    along = sign * (slope(on_signal) @ (pull * kept))
    gradient: Floats = -along[..., None] * mu - sign[..., None] * (slope(on_noise) * pull * observed) @ noise
    return gradient


def _gradients(rng: np.random.Generator, found: Deviations) -> None:
    """The kernel's gradient against three derivatives of the loss that know nothing of it."""
    for W, x, y, q, scale in _tasks(rng):
        loss, gradient = logistic_loss(W, x, y, q=q, output_scale=scale)
        found.add("loss against the reference", loss, reference.logistic_loss(W, x, y, q, scale))
        outputs = forward(W, x, q=q, output_scale=scale)
        found.add("loss of the forward pass", loss, np.mean(np.logaddexp(0.0, -y * outputs)))
        stepped = complex_gradient(lambda V: reference.logistic_loss(V, x, y, q, scale), W)  # noqa: B023
        found.add("gradient against the complex step", gradient, stepped)
        found.add("gradient against the reference", gradient, reference.logistic_gradient(W, x, y, q, scale))
        if 3 <= q <= 5:  # below, a patch within h of the kink has no third derivative; above, it is large
            along = gradient / np.linalg.norm(gradient)
            quotient = difference_quotient(
                lambda V: logistic_loss(V, x, y, q=q, output_scale=scale)[0],  # noqa: B023
                W,
                along,
                1e-5,
            )
            found.add("quotient of differences of the loss", np.sum(gradient * along), quotient)


class _Descent(NamedTuple):
    """Settings of a descent; stop : the step whose loss is the target (None: no target)."""

    q: float
    learning_rate: float
    output_scale: float = 1.0
    bias: bool = False
    stop: int | None = None


_DESCENTS = (
    _Descent(3.0, 0.1),
    _Descent(3.0, 0.1, stop=9),
    _Descent(1.0, 0.1, bias=True),
    _Descent(2.5, 0.02, output_scale=3.0, bias=True),
)
_LENGTH = 15


def _descents(rng: np.random.Generator, found: Deviations) -> int:
    """Whole descents, every state against the reference's; how many end at its step and for its reason."""
    right = 0
    for q, learning_rate, scale, bias, stop in _DESCENTS:
        case = _signal_noise(rng)
        dictionary, W, x = signal_noise_dictionary(case.mu, case.labelled), case.W, case.x
        if bias:
            dictionary = dictionary.with_bias()
            W = np.concatenate([W, 0.3 * rng.standard_normal((2, 3, 1))], axis=2)
            x = np.concatenate([x, np.ones((6, 2, 1))], axis=2)
        settings: dict[str, Any] = {
            "q": q,
            "learning_rate": learning_rate,
            "output_scale": scale,
            "max_steps": _LENGTH,
        }
        twin = reference.train(W, x, case.observed, target_loss=0.0, **settings)
        target = 0.0 if stop is None else (twin.losses[stop - 1] + twin.losses[stop]) / 2
        if stop is not None:
            twin = reference.train(W, x, case.observed, target_loss=target, **settings)
        _, run = train_dictionary(W, dictionary, record=_LENGTH + 1, target_loss=target, **settings)
        right += (run.status, run.steps) == (twin.status, len(twin.filters) - 1)
        flat = W.reshape(6, -1)
        states = flat + run.recorded_coefficients @ dictionary.vectors
        expected = np.array(twin.filters).reshape(-1, *flat.shape)
        found.add("descent: filters at every step", states, expected)
        found.add("descent: losses at every step", run.recorded_losses, twin.losses)
    return right


def check(trials: Trials, *, flips: bool = True, power: float = 0.0, slope: float = 0.0) -> Outcome:
    """The gradient against derivatives of the loss, and descents against the reference, step by step.

    ``flips`` False forgets the flipped labels in the signal term of E1 (8); ``power`` is added to the
    exponent of sigma', ``slope`` is a relative error of the formula along the gradient.
    """
    rng = trials.rng
    case = _signal_noise(rng)
    found, written = Deviations(), Deviations()
    for q in (1.0, 2.0, 3.0, 2.5):
        _, gradient = logistic_loss(case.W, case.x, case.observed, q=q)
        formula = _formula(case, q, flips=flips, power=power)
        written.add("formula of the signal-noise gradient", gradient, formula)
    _, gradient = logistic_loss(case.W, case.x, case.observed, q=3.0)
    along = gradient / np.linalg.norm(gradient)
    exact = reference.logistic_loss(case.W + 1e-30j * along, case.x, case.observed, 3.0).imag / 1e-30
    errors = [
        abs(
            difference_quotient(lambda V: logistic_loss(V, case.x, case.observed, q=3.0)[0], case.W, along, h)
            / exact
            - 1
        )
        for h in STEPS
    ]
    formula = _formula(case, 3.0, flips=flips, power=power)
    shown = equals(
        "slope of the loss along its gradient", (1 + slope) * np.sum(formula * along), exact, order=_EXACT
    )
    comparisons = [shown, *written.compared(_EXACT)]
    repeats = 1
    if flips and not power and not slope:  # the rest does not look at the formula: once is enough
        right = expected = 0
        for _ in trials.seeds(2, 40):
            _gradients(rng, found)
            right, expected = right + _descents(rng, found), expected + len(_DESCENTS)
            repeats += 1
        comparisons += found.compared(_EXACT, quotient=_QUOTIENT)
        comparisons.append(equals("descents that end where they should", expected, right))
    return Outcome(comparisons, repeats, {"errors": np.array(errors), "exact": exact})


CLAIM = Claim(
    id="E1",
    title="The supervised gradient is the derivative of the loss",
    source="Cao et al. 2022, by differentiation; with label flips Kou et al. 2023",
    statement=r"\nabla_{w_{j,r}} L = \frac{1}{nm} \sum_i \ell'_i \tilde y_i j \left[ "
    r"\sigma'(\langle w_{j,r}, y_i\mu\rangle) y_i \mu + \sigma'(\langle w_{j,r}, \xi_i\rangle) \xi_i \right]",
    check=check,
    controls={
        "label flips ignored in the signal term": {"flips": False},
        "sigma' with the exponent q - 1 + 1e-6": {"power": 1e-6},
        "the slope along the gradient off by 1e-10": {"slope": 1e-10},
    },
    figure=figure,
)
