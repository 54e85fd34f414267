"""`lora`: low-rank corrections of frozen weights, by `peft`, and a new head."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from app.methods.supervised.lora import Lora
from worker.methods import supervision, transferred
from worker.methods.task import Adapted, Adapter, Task
from worker.networks.classifier import Classifier
from worker.runtime.contract import Failure
from worker.training.freezing import Scope

if TYPE_CHECKING:
    from peft import LoraConfig
    from peft.tuners.tuners_utils import BaseTunerLayer

PREFIX = "base_model.model."  # before every name in peft's own files
PARTS = (
    "lora_dropout",
    "lora_A",
    "lora_B",
    "lora_magnitude_vector",
)  # that a corrected layer has; the last one for DoRA


def run(task: Task, params: Lora) -> Adapted:
    """Hu et al. 2022, eq. 3; Liu et al. 2024, eq. 5."""
    start = transferred.start(task, params.input)
    learner = start.learner
    examples = supervision.examples(task.run, task.target, params, learner.input, start.classes)
    params = params.resolve(len(examples.train), learner.input.size)
    config = _inject(learner, params)
    heads, learning = list(learner.structure.heads), trainable(learner)
    supervision.learn(task, learner, params, examples, Scope(lambda epoch: learning))
    adapter = _adapter(learner, config)
    _merge(learner.module)
    transfer = start.report | {"trainable": heads, "corrected": adapter.config["target_modules"]}
    adapted = Adapted(learner, start.spec, params, examples.use, transfer)
    return replace(adapted, adapter=adapter)


def targets(network: nn.Module, params: Lora, heads: tuple[str, ...]) -> list[str]:
    """Paths of the layers that are corrected.

    Raises:
        Failure: `does_not_fit`, there are none of that kind.
    """
    kinds = {"all": (nn.Linear, nn.Conv2d), "linear": (nn.Linear,), "convolutions": (nn.Conv2d,)}[params.targets]
    paths = [
        path
        for path, module in network.named_modules()
        if type(module) in kinds and path not in heads and getattr(module, "groups", 1) == 1
    ]
    if not paths:
        raise Failure("does_not_fit", f"`lora` finds no layer to adapt in the network (`targets`: {params.targets}).")
    return paths


def trainable(learner: Classifier) -> list[str]:
    """The corrections with the dropout before them, the heads, and whatever drops out behind the first correction."""
    paths, heads = [path for path, _ in _corrected(learner.module)], learner.structure.heads
    low_rank = [f"{path}.{part}" for path in paths for part in PARTS]
    return [*low_rank, *heads, *learner.structure.live([*paths, *heads])]


def _inject(learner: Classifier, params: Lora) -> "LoraConfig":
    from peft import LoraConfig, inject_adapter_in_model  # two seconds that no other job should wait for

    config = LoraConfig(
        r=params.rank,
        lora_alpha=params.alpha,  # type: ignore[arg-type]  # divided by r alone
        lora_dropout=params.dropout,
        target_modules=targets(learner.module, params, learner.structure.heads),
        bias="none",
        use_dora=params.dora,
    )
    inject_adapter_in_model(config, learner.module)
    learner.module.requires_grad_(True)  # what is frozen is said epoch by epoch
    return config


def _corrected(network: nn.Module) -> Iterator[tuple[str, "BaseTunerLayer"]]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in network.named_modules():
        if isinstance(module, BaseTunerLayer):
            yield path, module


def _adapter(learner: Classifier, config: "LoraConfig") -> Adapter:
    """The adapter, under the names of peft's own files."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in learner.module.state_dict().items():
        if ".lora_" in name:
            own = name.replace("lora_magnitude_vector.default.weight", "lora_magnitude_vector").replace(
                ".default.", "."
            )
            tensors[PREFIX + own] = tensor.detach().cpu().clone()
        elif name.startswith(tuple(f"{head}." for head in learner.structure.heads)):
            tensors[PREFIX + name] = tensor.detach().cpu().clone()
    about: dict[str, object] = {
        "peft_type": "LORA",
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": config.lora_dropout,
        "use_dora": config.use_dora,
        "target_modules": sorted(config.target_modules or ()),
        "modules_to_save": list(learner.structure.heads),
    }
    return Adapter(tensors, about)


def _merge(network: nn.Module) -> None:
    """The corrections into the weights; layers and names are the network's own again."""
    for path, layer in list(_corrected(network)):
        layer.merge()
        network.set_submodule(path, layer.get_base_layer())
