"""`mae`: what is seen, what is masked, and what is painted, against the paper's own reckoning."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from app.contract.inputs import InputSpec
from app.contract.networks import NetworkSpec
from tests.worker.methods import tasks
from tests.worker.methods.tasks import Setting
from worker.networks import build, masked_patches, plain_transformer
from worker.networks.masked_patches import Painter
from worker.runtime.contract import Failure, Metric

NEW = {"network": tasks.transformer(10), "input": tasks.TRANSFORMED}
MAE = {"name": "mae", "dimensions": 16, "blocks": 1, "batch_size": 16, **NEW}


def made(name, size):
    torch.manual_seed(0)
    input = InputSpec(size=(size, size), channels=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    network = build.build(NetworkSpec(name=name, num_classes=1, options={}), input).eval()
    return network, plain_transformer.of(network), torch.randn(2, 3, size, size)


def by_timm(network, x_BCHW, seen_BV):
    """The paper's encoder: positions are added first, then what is masked is left out, and no token stands for it."""
    token_BND = network.patch_embed.proj(x_BCHW).flatten(2).transpose(1, 2) + network.pos_embed[:, 1:]
    token_BVD = torch.stack([token_BND[b, seen_V] for b, seen_V in enumerate(seen_BV)])
    first = (network.cls_token + network.pos_embed[:, :1]).expand(len(x_BCHW), -1, -1)
    return network.norm(network.blocks(torch.cat([first, token_BVD], dim=1)))


def by_torchvision(network, x_BCHW, seen_BV):
    token_BND = network._process_input(x_BCHW) + network.encoder.pos_embedding[:, 1:]
    token_BVD = torch.stack([token_BND[b, seen_V] for b, seen_V in enumerate(seen_BV)])
    first = (network.class_token + network.encoder.pos_embedding[:, :1]).expand(len(x_BCHW), -1, -1)
    return network.encoder.ln(network.encoder.layers(torch.cat([first, token_BVD], dim=1)))


@pytest.mark.parametrize(
    ("name", "size", "reference"),
    [("timm/test_vit", 96, by_timm), ("torchvision/vit_b_16", 224, by_torchvision)],
    ids=["timm", "torchvision"],
)
def test_the_encoder_sees_what_is_not_masked_and_nothing_else(name, size, reference):
    network, transformer, x_BCHW = made(name, size)
    patches = transformer.patches((size, size))
    assert patches == (size // 16) ** 2
    generator = torch.Generator().manual_seed(3)
    seen_BV, masked_BM = masked_patches.sampled(2, patches, 5, generator, x_BCHW.device)
    assert not torch.equal(seen_BV[0].sort()[0], seen_BV[1].sort()[0])  # each image has a mask of its own
    assert all(
        sorted(torch.cat(pair).tolist()) == list(range(patches)) for pair in zip(seen_BV, masked_BM, strict=True)
    )
    with torch.no_grad():
        token_BTD = masked_patches.encoded(network, transformer, x_BCHW, seen_BV)
        assert token_BTD.shape == (2, 6, transformer.width)
        torch.testing.assert_close(token_BTD, reference(network, x_BCHW, seen_BV), rtol=1e-4, atol=1e-4)
        other = x_BCHW.clone()
        row, column = divmod(int(masked_BM[0, 0]), size // 16)
        other[0, :, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] += 9
        assert torch.equal(masked_patches.encoded(network, transformer, other, seen_BV), token_BTD)
        every_BN = torch.arange(patches).expand(2, -1)
        unmasked = [masked_patches.encoded(network, transformer, x, every_BN) for x in (other, x_BCHW)]
        assert not torch.allclose(unmasked[0][0, 0], unmasked[1][0, 0])  # without the mask it is seen


def test_patches_are_cut_row_by_row_and_normalised():
    x_BCHW = torch.randn(2, 3, 8, 12)
    patch_BNP = masked_patches.cut(x_BCHW, (4, 4), normalised=False)
    unfolded = F.unfold(x_BCHW, 4, stride=4).transpose(1, 2)  # [B,N,C·h·w]
    torch.testing.assert_close(patch_BNP, unfolded.reshape(2, 6, 3, 16).transpose(2, 3).reshape(2, 6, 48))
    normal = masked_patches.cut(x_BCHW, (4, 4), normalised=True)
    torch.testing.assert_close(normal.mean(2), torch.zeros(2, 6), rtol=0, atol=1e-6)
    torch.testing.assert_close(normal.std(2), torch.ones(2, 6), rtol=0, atol=1e-4)


def test_the_error_is_of_masked_patches_alone():
    painted, target = torch.randn(2, 6, 4), torch.randn(2, 6, 4)
    masked_BM = torch.tensor([[0, 3], [5, 2]])
    expected = np.mean([((painted[b, n] - target[b, n]) ** 2).mean().item() for b in (0, 1) for n in masked_BM[b]])
    assert masked_patches.error(painted, target, masked_BM).item() == pytest.approx(expected, rel=1e-6)


def test_places_are_those_of_the_paper():
    """Appendix A.1, as in `get_2d_sincos_pos_embed` of the authors' code, whose rows come second."""

    def one(width, place_N):
        out = np.einsum("m,d->md", place_N, 1.0 / 10000 ** (np.arange(width // 2, dtype=float) / (width / 2.0)))
        return np.concatenate([np.sin(out), np.cos(out)], axis=1)

    row_N, column_N = np.divmod(np.arange(12), 4)
    expected = np.concatenate([one(8, row_N), one(8, column_N)], axis=1)
    np.testing.assert_allclose(masked_patches.positions((3, 4), 16), expected, atol=1e-6)


def test_the_painter_has_one_token_for_all_that_is_not_seen():
    """Where an image shows nothing, all places differ by their positions alone."""
    _, transformer, _ = made("timm/test_vit", 64)
    painter = Painter(transformer, (64, 64), 10, 8, 1).eval()
    seen_BV = torch.tensor([[2, 7], [9, 1]])
    token_BTD = torch.randn(2, 3, transformer.width)
    entering = []
    painter.blocks.register_forward_pre_hook(lambda module, inputs: entering.append(inputs[0]))
    with torch.no_grad():
        assert painter(token_BTD, seen_BV).shape == (2, 16, 10)
        place_BNE = entering[0][:, 1:] - painter.place_1ND
        embedded = painter.embed(token_BTD)
    for b, seen_V in enumerate(seen_BV.tolist()):
        for n in range(16):
            expected = embedded[b, 1 + seen_V.index(n)] if n in seen_V else painter.unseen_1ND[0, 0]
            torch.testing.assert_close(place_BNE[b, n], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entering[0][:, 0], embedded[:, 0])


def test_it_learns_to_paint_and_the_features_are_a_source(tmp_path):
    data = tasks.dataset(tmp_path / "target", 4, per_class=32)
    method = MAE | {"epochs": 60, "learning_rate": 0.003, "augmentation": "none", "mask": 0.5}
    outcome = tasks.run(Setting(method, None, data), tmp_path / "run")
    losses = outcome.recorder.series("loss", "train")
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert outcome.document["untrained_head"]
    assert not any("painter" in name for name in outcome.weights)
    assert outcome.document["classes"] == ["unlabelled"]


def test_a_checkpoint_goes_on(tmp_path):
    source = tasks.source(tmp_path / "source", of=tasks.transformer)
    method = {name: value for name, value in MAE.items() if name not in NEW} | {"epochs": 2}
    outcome = tasks.run(Setting(method, source, tasks.dataset(tmp_path / "target", 4)), tmp_path / "run")
    assert "blocks.0.attn.qkv.weight" in outcome.document["transfer"]["tensors"]["copied"]
    assert outcome.recorder.of(Metric)


def test_what_cannot_be_masked_is_refused(tmp_path):
    data = tasks.dataset(tmp_path / "target", 4)
    for method, said in (
        (MAE | {"network": tasks.network(10), "input": tasks.INPUT}, "is no plain vision transformer"),
        (MAE | {"input": tasks.INPUT | {"size": [16, 16]}}, "Of 1 patches none is masked"),
    ):
        with pytest.raises(Failure, match=said) as refused:
            tasks.run(Setting(method | {"epochs": 1}, None, data), tmp_path / said[:5])
        assert refused.value.code == "does_not_fit"
