"""The demo itself, from an empty folder to an adapted model."""

from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from rich.console import Console

from regraft import errors
from regraft.cli.live import transfer, watch
from regraft.client import Client
from regraft.demo import data, plan, report
from regraft.processes import Server, until_signalled
from regraft.types import Checkpoint, Dataset, Job

LOG = "demo.log"


def run(home: Path, *, port: int, keep: bool, console: Console) -> None:
    """Starts a server on `home`, tells the story, stops the server (or keeps it until Ctrl-C)."""
    home.mkdir(parents=True, exist_ok=True)
    began = monotonic()
    with (home / LOG).open("ab") as log, Server(home, port=port, log=log) as server:
        console.print(f"API and worker run at {server.url}; data in {home}, log in {home / LOG}.")
        with Client(server.url, key=server.key_file.read_text().strip()) as client:
            Story(client, home, console).tell()
        console.print(f"\n{monotonic() - began:.0f} seconds in all.")
        if keep:
            console.print(f"The server stays at {server.url} until Ctrl-C.")
            with until_signalled() as wanted:
                server.watch(wanted)


@dataclass(frozen=True)
class Story:
    client: Client
    home: Path
    console: Console

    def tell(self) -> None:
        source_data, target_data = self._datasets()
        source = self._source(source_data)
        contenders = self._contenders(source, target_data)
        _, scratch, _, fine_tune = contenders
        test = (target_data.splits or {}).get("test")
        self.console.print(
            report.table(contenders, f"\nMNIST → optdigits, on {test} test images that nothing else saw")
        )
        self.console.print(report.verdict(fine_tune, scratch), style="bold")
        self._use(fine_tune)

    def _datasets(self) -> tuple[Dataset, Dataset]:
        self.console.rule("Two domains")
        mnist, optdigits = self.home / "mnist5k-idx.zip", self.home / "optdigits-folders.zip"
        with self.console.status("Writing the archives"):
            data.mnist(mnist)
            data.optdigits(optdigits)
        source = self.client.datasets.create(name="MNIST-5k", file=self._upload(mnist))
        target = self.client.datasets.create(name="optdigits", file=self._upload(optdigits), splits=plan.TARGET_SPLITS)
        with self.console.status("Processing"):
            ready = [self.client.datasets.wait(dataset.id) for dataset in (source, target)]
        for dataset in ready:
            self.console.print(_described(dataset), highlight=False)
        return ready[0], ready[1]

    def _source(self, dataset: Dataset) -> Checkpoint:
        self.console.rule("A source: trained on MNIST-5k")
        job = self.client.jobs.create(method=plan.SOURCE, dataset=dataset.id, name="source")
        [done] = watch(self.client, [job], self.console)
        if done.model is None:
            raise errors.Unsuccessful(done)
        created = self.client.checkpoints.create(name="MNIST-5k digits", model=done.model)
        checkpoint = self.client.checkpoints.wait(created.id)
        self.console.print(f"Promoted to {checkpoint.id}, {checkpoint.parameters:,} parameters.", highlight=False)
        return checkpoint

    def _contenders(self, source: Checkpoint, target: Dataset) -> list[Job]:
        """Source unchanged, scratch, linear probe, fine-tune."""
        self.console.rule(f"Adapted to optdigits, {plan.LABELS_PER_CLASS} labels a class")
        contenders = [
            ("source unchanged", plan.UNCHANGED, source.id),
            ("scratch", plan.SCRATCH, None),
            ("linear probe", plan.LINEAR_PROBE, source.id),
            ("fine-tune", plan.FINE_TUNE, source.id),
        ]
        jobs = [
            self.client.jobs.create(name=name, method=method, dataset=target.id, checkpoint=start)
            for name, method, start in contenders
        ]
        return watch(self.client, jobs, self.console)

    def _use(self, job: Job) -> None:
        if job.model is None:
            raise errors.Unsuccessful(job)
        self.console.rule("The model in hand")
        digit, weights = self.home / "digit.png", self.home / f"{job.model}.safetensors"
        digit.write_bytes(data.one_optdigit())
        [found] = self.client.models.predict(job.model, digit)
        self.console.print(f"{digit} is a {found.label} ({found.probability:.1%}).", highlight=False)
        with transfer(self.console, "Downloading the weights") as progress:
            self.client.models.download(job.model, weights, progress=progress)
        self.console.print(f"{weights}: {weights.stat().st_size:,} bytes.", highlight=False)
        self.console.print(by_hand(self.home, job.model), highlight=False, markup=False, soft_wrap=True)

    def _upload(self, path: Path) -> str:
        with transfer(self.console, f"Uploading {path.name}") as progress:
            return self.client.files.upload(path, progress=progress).id


def by_hand(home: Path, model: str) -> str:
    """The commands that do the last two steps again."""
    url = "http://127.0.0.1:8000/v1/models"
    key = f'"Authorization: Bearer $(cat {home}/admin.key)"'
    return f"""
After `regraft serve --home {home}` all of it is to be seen at http://127.0.0.1:8000, with the key in {home}/admin.key.
By hand:

  regraft predict {model} {home}/digit.png --home {home}
  regraft models download {model} --home {home}

  curl -H {key} -H "Content-Type: image/png" --data-binary @{home}/digit.png {url}/{model}/predictions
  curl -H {key} -o {model}.safetensors {url}/{model}/weights"""


def _described(dataset: Dataset) -> str:
    parts = ", ".join(f"{count:,} {name}" for name, count in (dataset.splits or {}).items())
    shape = f"{dataset.image['height']}×{dataset.image['width']}" if dataset.image else "mixed sizes"
    return f"{dataset.name}: {dataset.format}, {shape}, {len(dataset.classes or [])} classes; {parts}."
