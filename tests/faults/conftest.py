from e2e.conftest import own_service  # noqa: F401
