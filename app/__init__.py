"""Half of the service: API and prediction.  Whatever is imported of it, the libraries below it send nothing home."""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoTelemetry(MetaPathFinder):
    """OpenVINO reports its use to its maker unless this package is missing; it has no switch for that."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == "openvino_telemetry":
            raise ModuleNotFoundError(f"{name} is switched off by Regraft", name=name)
        return None


# Here, because each of them decides when it is first imported, and every process of ours imports this before.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # huggingface_hub, which timm loads
sys.meta_path.insert(0, _NoTelemetry())
