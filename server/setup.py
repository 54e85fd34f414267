"""The server's version names its commit as the client's does: see `setup.py` above."""

import runpy
from pathlib import Path

from setuptools import setup

commit = runpy.run_path(str(Path(__file__).resolve().parents[1] / "setup.py"))["commit"]

setup(options={"egg_info": {"tag_build": commit()}})
