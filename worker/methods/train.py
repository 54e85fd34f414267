"""`train`: a network from scratch."""

from app.methods.inputs import InputSpec
from app.methods.layers import NAME as LAYERS
from app.methods.train import Train
from worker.engine import device
from worker.methods import supervised, transferred
from worker.methods.task import Adapted, Domain, Task
from worker.networks import anatomy, build
from worker.terms.base import Frame

LARGEST_OWN_SIDE = 224  # of a network that takes any size, where the images have many


def train(task: Task, params: Train) -> Adapted:
    input = params.input or _usual_input(task.target, params) or own_input(task.target)
    classes = task.target.classes
    network = build.build(params.network, input)
    structure = anatomy.study(network, input)
    device.place(network, task.run.device)
    learner = Frame(network, structure, input, classes)
    seen = supervised.examples(task.run, task.target, params, input, classes)
    params = params.resolve(len(seen.train), input.size)
    supervised.learn(task, learner, params, seen)
    transfer = {"head": "new", "adapters": transferred.adapters(task.target, input)}
    return Adapted.of(learner, params.network, params, seen.use, transfer)


def own_input(domain: Domain) -> InputSpec:
    """The dataset's own size and statistics; of mixed sizes the median."""
    if domain.image is not None:
        size, channels = (domain.image["height"], domain.image["width"]), domain.image["channels"]
    else:
        height, width, channels = domain.images.median_shape
        size = min(height, LARGEST_OWN_SIDE), min(width, LARGEST_OWN_SIDE)
    return InputSpec(size=size, channels=channels, mean=domain.mean, std=domain.std)


def _usual_input(domain: Domain, params: Train) -> InputSpec | None:
    """The network's; one that is described as data says a size alone, and takes the dataset's statistics."""
    usual = build.usual_input(params.network)
    if usual is None or params.network.name != LAYERS:
        return usual
    mean, std = (_per_channel(values, usual.channels) for values in (domain.mean, domain.std))
    return usual.model_copy(update={"mean": mean, "std": std})


def _per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Statistics of grey images for colour, and the other way round."""
    return values if len(values) == channels else (sum(values) / len(values),) * channels
