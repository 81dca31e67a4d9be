"""Every tolerance of the tests, by cause: what the error comes from, and therefore how large it may be."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)

# Round-off. A sum of n terms is off by at most n eps times the sum of their sizes (Higham, Accuracy and
# Stability, 4.2); a formula is a handful of such sums, hence the factor.
_SUMS_PER_FORMULA = 16.0


def roundoff(terms: int, size: float = 1.0) -> float:
    """Absolute error of a formula that adds ``terms`` numbers of total ``size``."""
    return _SUMS_PER_FORMULA * terms * EPS * size


# exp_in_place: argument reduction and polynomial cost half an eps each, the last sum one more, and NumPy's
# own exponential may be off by one.
EXPONENTIAL = 4.0 * EPS

# Logarithm, sine, cosine by polynomials, and the normals made of them: below one eps each, four in a row.
ELEMENTARY = 4.0 * EPS

# The smallest number with full relative precision: what is below may be flushed or denormal.
TINY = float(np.finfo(np.float64).tiny)

# Differences. (L(h) - L(-h))/2h is off by h^2 L'''/6 and by eps |L|/h: the two balance near eps^(1/3).
CENTRAL_STEP = EPS ** (1 / 3)
# Im L(W + ihV)/h is off by h^2 L'''/6 too, but subtracts nothing: h may be so small that h^2 is nothing.
COMPLEX_STEP = 1e-30


def central_difference(along: Callable[[float], float]) -> tuple[float, float]:
    """The derivative of ``along`` at 0 by central differences, and its error.

    D(2h) - D(h) = h^2 L'''/2 is three times the error of D(h).
    """
    h = CENTRAL_STEP
    near = (along(h) - along(-h)) / (2 * h)
    far = (along(2 * h) - along(-2 * h)) / (4 * h)
    return near, abs(far - near) + _SUMS_PER_FORMULA * EPS * max(abs(along(0.0)), 1.0) / h


# Linearisation. A linear part taken a distance h away is off by h times a second derivative, here below 100:
# relative to the step itself, LINEARISED at a distance of SMALL.
SMALL = 1e-8
LINEARISED = 1e-6

# E4: two orders of the same sums drift apart as fast as a round-off perturbation of the start does.
TRAJECTORY_FLOOR = 1e-10
RESPONSE_FACTOR = 100.0
_PERTURBATIONS = 3


def perturbed(W: Floats) -> list[Floats]:
    """W with every entry changed by at most eps of itself, a few times (always the same)."""
    rng = np.random.default_rng(0)
    return [W * (1.0 + EPS * rng.choice([-1.0, 1.0], size=W.shape)) for _ in range(_PERTURBATIONS)]


def response(function: Callable[[Floats], Floats | float], W: Floats) -> float:
    """Error that round-off in W explains: the largest change of function(W) under it, times 100."""
    value = function(W)
    return RESPONSE_FACTOR * max(float(np.max(np.abs(function(V) - value))) for V in perturbed(W))


def trajectory(states: list[Floats], disturbed: list[list[Floats]]) -> list[float]:
    """Absolute tolerance of each state of a trajectory, from the same trajectory with disturbed starts."""
    return [
        max(
            TRAJECTORY_FLOOR * float(np.max(np.abs(state))),
            RESPONSE_FACTOR * max(float(np.max(np.abs(other[t] - state))) for other in disturbed),
        )
        for t, state in enumerate(states)
    ]


# Monte Carlo. k standard errors: a correct mean is outside 5 of them once in 2 million tests.
STANDARD_ERRORS = 5.0


def monte_carlo(deviation: float, samples: int) -> float:
    """k / sqrt(N): the error of a mean of ``samples`` draws with this standard deviation."""
    return STANDARD_ERRORS * deviation / float(np.sqrt(samples))


# Closed forms of the theory. A handful of operations, a square root of a difference among them: a few
# dozen eps.
CLOSED_FORM = 1e-13
# A root or a minimum found numerically: brentq stops at 1e-12, a minimum is flat to sqrt(eps) in its argument
# but not in its value.
SOLVED = 1e-9
# d log f by central differences of step 1e-5: h^2 f''' / 6, with derivatives of order 1 to 100.
SLOPE_STEP = 1e-5
SLOPE = 1e-7
# Right above the transition, at kappa (1 + TRANSITION_STEP): the top is flat there (the step squared), cos^2
# rises with the step times a few c, c at most 1000.
TRANSITION_STEP = 1e-6
TRANSITION = 1e-2
# Second differences of relative step 1e-3: h^2 f'''' / 12 with derivatives of order 100, and their largest
# value on a grid: at its ends off by the spacing, 1e-3.
SECOND_DIFFERENCE_STEP = 1e-3
CURVATURE = 1e-3
# Numbers quoted to three digits after the point.
THREE_DIGITS = 5e-4

# Finite size (P2): corrections are 1/n0 times a factor of order 1, the edge is approached as
# n0^(-2/3), and what is left of a mean over draws after its standard errors is 1 %.
FINITE_SIZE = 2.0
REMAINDER = 0.01


def finite_size(samples: int) -> float:
    """Relative error of a limit n0 -> infinity at n0 samples."""
    return FINITE_SIZE / samples + 5.0 / float(np.sqrt(1e4 * samples))


def edge_size(samples: int) -> float:
    """Relative error of a bulk edge at n0 samples."""
    return float(samples ** (-2 / 3))


# Hand-over: what is left of the predicted ratio after the softmax's saturation is the finite step (the end is
# passed by up to one step of 10 %) and the imbalance of v_1's components, a few percent each.
HAND_OVER = 0.05

# The linear stage in closed form at n0 = 100 and d = n0^5: corrections are 1/n0 times a factor of order 1.
LINEAR_STAGE = FINITE_SIZE / 100

# Race (S1): |l'| = 1/2 holds while f is small; the activation is read at f = 0.3^q, where few steps
# are left over which l' is off, and (a_0/a)^(q-2) of the time is still missing.
BLOW_UP = 0.1
RACES_RIGHT = 0.9

# Gradient descent at the default step size: at the kink of q = 1 (and the unbounded curvature of 1 < q < 2
# near 0) a patch that is switched on adds at most a few percent to the loss.
KINK = 0.05

# Two-sample tests: with a fixed seed one is right or wrong for good; below this level it is called wrong.
SIGNIFICANCE = 1e-4

# Loss and error curves at their limits: exp(-40) and less.
SATURATED_LOSS = 1e-15

# Equality in law: so many seeds on either side, and the level of all two-sample tests of one experiment
# together. Seeds are fixed, so that a correct law passes for good; the control shows what the test notices.
LAW_SEEDS = 400
LAW_LEVEL = 1e-3


# The same run on another type of CPU: its matrix products add in another order, and growth in the race
# amplifies round-off, at these sizes by less than a million.
OTHER_MACHINE = 1e-7

# Test errors of K1 (15) are splines through 30 by 6 errors of K1 (12).
INTERPOLATED = 1e-3
