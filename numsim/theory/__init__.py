"""Closed forms only: what theory predicts, computed without any simulation.

spectrum     eigenvalues and alignment of the power matrix (P2, P6)
lossy_views  the same where views lose their signal (P9)
handover     growth, length of the linear stage and signal-to-noise ratio at its end (P3)
linearisation  exact modes of the power matrix, and what the softmax adds to it (P1, P3)
memorisation  beyond the linear stage in two variables, and a third (P5)
race         blow-up times of signal and noise, and who wins (S1, S4)
outcome      what training ends in: margins, coefficients, test loss (S2, S3, S5)
boundary     where training begins to learn the signal, with and without pre-training (S2, S5)
conditions   the theorems' conditions as a table (S6)
concentration  norms, cross terms and initial filters: bounds and laws (C1, C2)
relu         memorisation and test error of ReLU filters (K1, K2)
labels       counting of labels and signs (C3, P4)
label_noise  stationary margins under label noise, and what the signal grows by meanwhile (L1)
momentum     races with a velocity, and clusters of unequal strength (M1)
sharpness    what SAM switches off, and patches of noise (A1)
spurious     core and spurious signals, who is learned when (R1)
xor          which filters hold a cluster of XOR data, and how much of its signal (X1)
limits       losses at filters near zero and of signal alone (E5)
defaults     step sizes and initial scale derived from the above
"""

from .concentration import (
    cross_term_bound,
    cross_term_quantile,
    cross_term_tail,
    expected_maximum,
    filters_needed,
    initialisation_probability,
    maximum_quantile,
    noise_norm_dimension,
    noise_norm_dimension_bound,
    noise_norm_failure,
    noise_norm_interval,
    noise_overlap_bound,
    overlap_missed,
    signal_overlap_bound,
)
from .conditions import Condition, conditions
from .handover import (
    coefficient_growth,
    fresh_handover_ratio,
    handover_ratio,
    linear_stage_steps,
    saturation,
)
from .label_noise import (
    label_noise_growth,
    label_noise_pull,
    label_noise_pull_expansion,
    memorisation_gain,
    stationary_mean,
)
from .labels import (
    balance_probability,
    balance_rate,
    balance_samples,
    balance_samples_bound,
    split_probability,
)
from .limits import (
    flipped_loss,
    mean_signal_loss,
    signal_loss,
    signal_loss_expansion,
    signal_loss_slope,
    small_filter_loss,
    zero_filter_loss,
)
from .linearisation import (
    Mode,
    initial_perturbation,
    late_perturbation,
    linear_modes,
    softmax_response,
)
from .lossy_views import fresh_kept_spectrum, kept_for_overlap, kept_spectrum
from .memorisation import Memorisation, collective_descent, collective_scale, memorised_alignment
from .momentum import (
    MomentumRace,
    cluster_clock,
    crossing_inertia,
    inertia,
    momentum_race,
    momentum_steps,
)
from .outcome import (
    Fit,
    after_clock,
    along_test_error,
    elapsed_clock,
    learned_test_loss,
    loss_bound,
    memorised_test_loss,
    noise_output_tail,
    noisy_test_error,
    outcome_ratio,
    time_to_loss,
)
from .race import Race, critical_ratio, delayed_signal_time, noise_power_mean, race, steps_to_reach
from .relu import (
    coefficient_balance,
    derivative_bound,
    derivative_ratio,
    inverse_active,
    memorisation_speed,
    memorisation_steps,
    memorised_loss,
    memorised_margin,
    relu_mean_error,
    relu_signal,
    relu_test_error,
)
from .sharpness import patch_signal, patch_test_error, sam_share, sam_shift, signal_margin
from .spectrum import (
    Spectrum,
    augmentation_worth,
    eigenvector_ratio,
    finite_edge,
    fresh_view_spectrum,
    imbalanced_spectrum,
    lowest_eigenvalue,
    power_unit,
    spectrum,
)
from .spurious import SpuriousTimes, critical_core, signal_race, spurious_plateau, spurious_times
from .success import (
    bounded_noise_probability,
    critical_strength,
    end_to_end_boundary,
    finetuning_strength,
    linear_end_ratio,
    success_probability,
)
from .xor import xor_share, xor_side, xor_signal

__all__ = [
    "Condition",
    "Fit",
    "Memorisation",
    "Mode",
    "MomentumRace",
    "Race",
    "Spectrum",
    "SpuriousTimes",
    "after_clock",
    "along_test_error",
    "augmentation_worth",
    "balance_probability",
    "balance_rate",
    "balance_samples",
    "balance_samples_bound",
    "bounded_noise_probability",
    "cluster_clock",
    "coefficient_balance",
    "coefficient_growth",
    "collective_descent",
    "collective_scale",
    "conditions",
    "critical_core",
    "critical_ratio",
    "critical_strength",
    "cross_term_bound",
    "cross_term_quantile",
    "cross_term_tail",
    "crossing_inertia",
    "delayed_signal_time",
    "derivative_bound",
    "derivative_ratio",
    "eigenvector_ratio",
    "elapsed_clock",
    "end_to_end_boundary",
    "expected_maximum",
    "filters_needed",
    "finetuning_strength",
    "finite_edge",
    "flipped_loss",
    "fresh_handover_ratio",
    "fresh_kept_spectrum",
    "fresh_view_spectrum",
    "handover_ratio",
    "imbalanced_spectrum",
    "inertia",
    "initial_perturbation",
    "initialisation_probability",
    "inverse_active",
    "kept_for_overlap",
    "kept_spectrum",
    "label_noise_growth",
    "label_noise_pull",
    "label_noise_pull_expansion",
    "late_perturbation",
    "learned_test_loss",
    "linear_end_ratio",
    "linear_modes",
    "linear_stage_steps",
    "loss_bound",
    "lowest_eigenvalue",
    "maximum_quantile",
    "mean_signal_loss",
    "memorisation_gain",
    "memorisation_speed",
    "memorisation_steps",
    "memorised_alignment",
    "memorised_loss",
    "memorised_margin",
    "memorised_test_loss",
    "momentum_race",
    "momentum_steps",
    "noise_norm_dimension",
    "noise_norm_dimension_bound",
    "noise_norm_failure",
    "noise_norm_interval",
    "noise_output_tail",
    "noise_overlap_bound",
    "noise_power_mean",
    "noisy_test_error",
    "outcome_ratio",
    "overlap_missed",
    "patch_signal",
    "patch_test_error",
    "power_unit",
    "race",
    "relu_mean_error",
    "relu_signal",
    "relu_test_error",
    "sam_share",
    "sam_shift",
    "saturation",
    "signal_loss",
    "signal_loss_expansion",
    "signal_loss_slope",
    "signal_margin",
    "signal_overlap_bound",
    "signal_race",
    "small_filter_loss",
    "softmax_response",
    "spectrum",
    "split_probability",
    "spurious_plateau",
    "spurious_times",
    "stationary_mean",
    "steps_to_reach",
    "success_probability",
    "time_to_loss",
    "xor_share",
    "xor_side",
    "xor_signal",
    "zero_filter_loss",
]
