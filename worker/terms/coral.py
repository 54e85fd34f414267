"""Correlation alignment (Sun & Saenko 2016, eq. 1 to 3)."""

from torch import Tensor


def coral(source_SD: Tensor, target_TD: Tensor) -> Tensor:
    """‖C_s − C_t‖²_F / (4d²), with covariances over n − 1; nothing is said of the means."""
    return (covariance(source_SD) - covariance(target_TD)).square().sum() / (4 * source_SD.shape[1] ** 2)


def covariance(x_ND: Tensor) -> Tensor:
    centred_ND = x_ND - x_ND.mean(0)
    return centred_ND.T @ centred_ND / (len(x_ND) - 1)
