"""Quantiles, means and correlations that say NaN where there is nothing to take them of."""

from collections.abc import Sequence

import numpy as np
import polars as pl

QUARTILES = (0.25, 0.5, 0.75)


def quantiles(values: pl.Series, at: Sequence[float] = QUARTILES) -> tuple[float, ...]:
    """Linear between neighbours."""
    found = [values.quantile(share, "linear") for share in at]
    return tuple(np.nan if value is None else float(value) for value in found)


def median(values: pl.Series) -> float:
    """The value in the middle."""
    return quantiles(values, (0.5,))[0]


def mean(values: pl.Series) -> float:
    """Of true and false: the share of true."""
    return float(np.mean(values.to_numpy())) if len(values) else np.nan


def ratio(part: float, whole: float) -> float:
    """One by the other."""
    return part / whole if whole else np.nan


def correlation(one: pl.Series, other: pl.Series) -> float:
    """Pearson's; of ranks it is Spearman's."""
    if len(one) < 2 or one.n_unique() == 1 or other.n_unique() == 1:
        return np.nan
    return float(np.corrcoef(one.to_numpy(), other.to_numpy())[0, 1])
