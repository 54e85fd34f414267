"""What the parameters of every method share."""

from app.contract.base import Closed


class Parameters(Closed):
    """What a method takes: `name`, and all that a job may say of it."""

    def networks(self) -> dict[str, str]:
        """Checkpoints and models that are named within, by the path of the parameter that names them."""
        return {}

    def datasets(self) -> dict[str, str]:
        """Datasets that are named within, likewise."""
        return {}
