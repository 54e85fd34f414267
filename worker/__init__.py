import app  # noqa: F401  # switches off what the libraries below would send home
