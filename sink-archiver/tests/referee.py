"""Kaplan-Meier estimates by lifelines: {target, quantiles, cohorts: [[[time, completed], ...], ...]} on standard input."""

import json
import sys
import warnings

import numpy as np
from lifelines import KaplanMeierFitter
from lifelines.utils import qth_survival_time, restricted_mean_survival_time

warnings.filterwarnings("ignore")
question = json.load(sys.stdin)
target = question["target"]
answers = []
for cohort in question["cohorts"]:
    times = np.array([time for time, _ in cohort], dtype=float)
    completed = np.array([done for _, done in cohort], dtype=bool)
    fitted = KaplanMeierFitter().fit(times, completed)
    # A survival of 1 - p that is summed from fractions may miss it by rounding.
    quantiles = [qth_survival_time(1 - p + 1e-9, fitted.survival_function_["KM_estimate"]) for p in question["quantiles"]]
    # E = 100/(tau - T) times the integral of F from T to tau, F being 1 - S.
    tau = 3 * target
    still_open = restricted_mean_survival_time(fitted, t=tau) - restricted_mean_survival_time(fitted, t=target)
    survival = fitted.survival_function_["KM_estimate"]
    answers.append(
        {
            "quantiles": [None if np.isinf(q) else float(q) for q in quantiles],
            "efficiency": float(100 * (1 - still_open / (tau - target))),
            "curve": [[float(time), float(1 - share)] for time, share in survival.items()],
        }
    )
json.dump(answers, sys.stdout)
