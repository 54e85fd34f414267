"""Label shift: images whose classes have other shares than those that a network's probabilities go by."""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

LEAST = 1e-12  # share: below it nothing can be said of a class
TOLERANCE = 1e-7  # of shares, by which the estimate moves at last
ITERATIONS = 1000  # at most: shares that end at zero come near it ever more slowly


def corrected(p_NK: Doubles, prior_K: Doubles, share_K: Doubles) -> Doubles:
    """Probabilities under the priors `prior_K`, brought to classes of the shares `share_K` (Saerens et al. 2002,
    eq. 2.4): p(k) · share(k) / prior(k), divided by their sum.

    Where an image is of none of the classes that have a share, it keeps the shares.
    """
    weighted_NK = p_NK * (share_K / np.maximum(prior_K, LEAST))
    sum_N1 = weighted_NK.sum(1, keepdims=True)
    return np.where(sum_N1 > 0, weighted_NK / np.where(sum_N1 > 0, sum_N1, 1), share_K)


def estimate(p_NK: Doubles, prior_K: Doubles) -> Doubles:
    """The shares [K] under which probabilities with the priors `prior_K` are likeliest: expectation-maximisation from
    the priors on (Saerens et al. 2002, eq. 2.9), whose likelihood has one maximum (Alexandari et al. 2020)."""
    share_K = prior_K
    for _ in range(ITERATIONS):
        before_K, share_K = share_K, corrected(p_NK, prior_K, share_K).mean(0)
        if np.abs(share_K - before_K).max() < TOLERANCE:
            break
    return share_K
