import torch

from worker.data.batches import Batch, Shuffled
from worker.data.parallel import Parallel
from worker.runtime.recorder import Recorder
from worker.runtime.run import Run


def stream(tmp_path, count, size, name):
    run = Run(Recorder(), tmp_path, seed=1)
    generator = run.generator(name)

    def make(index_B):
        noise = torch.rand(len(index_B), generator=generator)
        return Batch(index_B + noise, index_B, index_B)

    return Shuffled(run, count, size, make, generators=[generator], stream=name)


def parallel(tmp_path):
    return Parallel({"long": stream(tmp_path, 20, 4, "long"), "short": stream(tmp_path, 6, 2, "short")})


def drawn(batches, epochs=3, first=0):
    return [
        {name: batch.x for name, batch in together.of.items()}
        for epoch in range(first, epochs)
        for together in batches.epoch(epoch)
    ]


def test_an_epoch_is_one_of_the_longest(tmp_path):
    batches = parallel(tmp_path)
    assert batches.per_epoch == 5
    found = drawn(batches)
    assert len(found) == 15
    for epoch in range(3):
        seen = torch.cat([found[5 * epoch + i]["long"] for i in range(5)]).floor()
        assert sorted(seen.tolist()) == list(range(20))


def test_the_shorter_begins_anew_with_another_order(tmp_path):
    found = [step["short"].floor().long() for step in drawn(parallel(tmp_path))]
    rounds = [torch.cat(found[i : i + 3]) for i in range(0, 15, 3)]
    assert all(sorted(one.tolist()) == list(range(6)) for one in rounds)
    assert any(not torch.equal(rounds[0], one) for one in rounds[1:])


def test_going_on_from_a_state(tmp_path):
    whole = drawn(parallel(tmp_path))
    first = parallel(tmp_path)
    kept = []
    for together in first.epoch(0):
        kept.append(together)
        if len(kept) == 3:
            break
    rest = parallel(tmp_path)
    rest.load_state_dict(first.state_dict())
    found = [together.of for together in rest.epoch(0, 3)] + [t.of for e in (1, 2) for t in rest.epoch(e)]
    assert len(found) == 12
    for expected, of in zip(whole[3:], found, strict=True):
        assert all(torch.equal(expected[name], of[name].x) for name in expected)
    assert len(kept[0]) == 4
