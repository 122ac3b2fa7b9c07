from typing import Any

import numpy as np
import pytest
import torch
from open_clip import ClipLoss, CoCaLoss
from open_clip.loss import SigLipLoss
from torch.nn import functional as F

from eosin.clip.config import ObjectiveConfig
from eosin.clip.distributed import World
from eosin.clip.objective import OBJECTIVES, Features, InfoNce, Keep, SigLip, caption_loss
from eosin.clip.relations import Keys, Rules

PLAIN = Rules()


def unit(rows: int, seed: int) -> torch.Tensor:
    features = torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))
    return F.normalize(features, dim=-1)


def keys(count: int, **given: Any) -> Keys:
    """Records that have nothing in common, but for what is given."""
    own = torch.arange(count)
    values: dict[str, Any] = {
        "held": own[:, None],
        "texts": own,
        "hard": torch.zeros(count, dtype=torch.bool),
        "group": own,
        "label": torch.full((count,), -1),
        "node": torch.full((count,), -1),
        "related": torch.zeros(0, 0, dtype=torch.bool),
        **given,
    }
    return Keys(**{"holders": values["texts"][:, None][:, :0], **values})


def features(count: int, given: Keys | None = None, *, each: int = 1, bias: float | None = None, scale: float = 14.0) -> Features:
    held = None if bias is None else torch.tensor(bias)
    return Features(unit(count, 0), unit(count * each, 1), given or keys(count), torch.tensor(scale), held, World())


def test_one_positive_each_is_open_clips_loss() -> None:
    batch = features(9)
    wanted = ClipLoss()(batch.images, batch.texts, batch.scale)
    torch.testing.assert_close(InfoNce()(batch, PLAIN), wanted)
    torch.testing.assert_close(InfoNce()(batch, Rules("same_caption", ("group",))), wanted, msg="records with nothing in common")


def test_targets_are_shared_among_positives_in_both_directions() -> None:
    batch = features(4, keys(4, label=torch.tensor([3, 3, -1, -1])))
    logits = batch.scale * batch.images @ batch.texts.T
    positive = torch.eye(4, dtype=torch.bool)
    positive[0, 1] = positive[1, 0] = True
    rows, columns = logits.log_softmax(dim=1), logits.log_softmax(dim=0)
    to_text = -torch.stack([rows[i][positive[i]].mean() for i in range(4)]).mean()
    to_image = -torch.stack([columns[:, j][positive[:, j]].mean() for j in range(4)]).mean()
    torch.testing.assert_close(InfoNce()(batch, Rules("same_caption_or_label")), (to_text + to_image) / 2)


def test_records_of_one_group_never_push_each_other() -> None:
    batch = features(5, keys(5, group=torch.tensor([1, 1, 2, 3, 4])))
    images = batch.images.clone().requires_grad_()
    moved = Features(images, batch.texts, batch.keys, batch.scale, None, World())
    for objective in (InfoNce(), SigLip(), Keep(), InfoNce(hardness=0.5)):
        alone = objective(moved, Rules("pair", ("group",)))
        (gradient,) = torch.autograd.grad(alone, images)
        # Of all texts only that of record 1 may not move image 0: take it away and nothing changes.
        swapped = batch.texts.clone()
        swapped[1] = unit(1, 99)[0]
        other = objective(Features(images, swapped, batch.keys, batch.scale, None, World()), Rules("pair", ("group",)))
        (after,) = torch.autograd.grad(other, images)
        torch.testing.assert_close(gradient[0], after[0], msg=f"{objective}")
        assert not torch.allclose(gradient[2], after[2]), "image 2 is of another group, and text 1 is its negative"


def test_siglip_is_open_clips_loss() -> None:
    batch = features(7, bias=-10.0)
    wanted = SigLipLoss()(batch.images, batch.texts, batch.scale, torch.tensor(-10.0))
    torch.testing.assert_close(SigLip()(batch, PLAIN), wanted)


def test_coca_is_open_clips_loss() -> None:
    batch = features(4)
    logits = torch.randn(4, 6, 11, generator=torch.Generator().manual_seed(5))
    labels = torch.tensor([[4, 5, 6, 0, 0, 0], [7, 1, 0, 0, 0, 0], [2, 3, 4, 5, 6, 7], [1, 0, 0, 0, 0, 0]])
    contrast, captions = CoCaLoss(caption_loss_weight=2.0, clip_loss_weight=1.0)(batch.images, batch.texts, logits, labels, batch.scale)
    torch.testing.assert_close(OBJECTIVES["coca"](ObjectiveConfig("coca"))(batch, PLAIN), contrast)
    torch.testing.assert_close(2.0 * caption_loss(logits, labels, 0, int((labels > 0).sum())), captions)


def test_keep_draws_the_least_hard_positive_of_a_disease_and_pushes_its_hardest_negative() -> None:
    node = torch.tensor([0, 0, 1, 1, -1, 2])
    related = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    rules = Rules("same_disease", ("hypernyms",))
    batch = features(6, keys(6, node=node, related=related), scale=25.0)
    logits = batch.scale * batch.images @ batch.texts.T

    def wanted(scores: torch.Tensor) -> torch.Tensor:
        terms = []
        for members in ([0, 1], [2, 3], [4], [5]):
            others = [i for i in range(6) if i not in members and not (max(members) < 4 and i < 4)]
            hardest = [-torch.logsumexp(-scores[i, members], dim=0) for i in members]
            drawn = torch.logsumexp(torch.stack(hardest), dim=0)
            pushed = torch.logsumexp(scores[members][:, others].flatten(), dim=0)
            terms.append(F.softplus(pushed - drawn))
        return torch.stack(terms).mean()

    torch.testing.assert_close(Keep()(batch, rules), (wanted(logits) + wanted(logits.T)) / 2)


def test_a_batch_of_one_disease_has_a_loss_of_nothing_and_no_gradient_that_is_no_number() -> None:
    batch = features(4, keys(4, node=torch.zeros(4, dtype=torch.long), related=torch.ones(1, 1, dtype=torch.bool)))
    images = batch.images.clone().requires_grad_()
    for objective in (Keep(), InfoNce(), SigLip()):
        loss = objective(Features(images, batch.texts, batch.keys, batch.scale, None, World()), Rules("same_disease"))
        (gradient,) = torch.autograd.grad(loss, images)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_hardness_weighs_near_negatives_more_and_keeps_their_mean() -> None:
    batch = features(8)
    flat, hard = InfoNce()(batch, PLAIN), InfoNce(hardness=2.0)(batch, PLAIN)
    assert hard > flat
    torch.testing.assert_close(InfoNce(hardness=1e-6)(batch, PLAIN), flat, atol=1e-4, rtol=0)
    cosines = batch.images @ batch.texts.T
    off = ~torch.eye(8, dtype=torch.bool)
    weights = torch.where(off, (2.0 * cosines).exp(), torch.zeros(()))
    weights = torch.where(off, weights * 7 / weights.sum(dim=1, keepdim=True), torch.ones(()))
    terms = weights * (batch.scale * cosines).exp()
    forth = -(terms.diagonal() / terms.sum(dim=1)).log().mean()
    back = torch.where(off, (2.0 * cosines.T).exp(), torch.zeros(()))
    back = torch.where(off, back * 7 / back.sum(dim=1, keepdim=True), torch.ones(())) * (batch.scale * cosines.T).exp()
    torch.testing.assert_close(hard, (forth - (back.diagonal() / back.sum(dim=1)).log().mean()) / 2)


def test_hard_captions_are_negatives_of_images_and_no_rows_of_their_own() -> None:
    texts = torch.tensor([0, 10, 1, -1, 2, 11])
    given = keys(3, texts=texts, hard=torch.tensor([False, True] * 3))
    batch = features(3, given, each=2)
    logits = batch.scale * batch.images @ batch.texts.T
    usable = [0, 1, 2, 4, 5]
    to_text = F.cross_entropy(logits[:, usable], torch.tensor([0, 2, 3]))
    to_image = F.cross_entropy(logits.T[[0, 2, 4]], torch.arange(3))
    torch.testing.assert_close(InfoNce()(batch, PLAIN), (to_text + to_image) / 2)


@pytest.mark.parametrize("objective", [InfoNce(), SigLip(), Keep()])
def test_several_captions_of_an_image_are_all_its_own(objective: Any) -> None:
    given = keys(3, texts=torch.arange(6), hard=torch.zeros(6, dtype=torch.bool))
    images = unit(3, 0)
    right = Features(images, images.repeat_interleave(2, dim=0), given, torch.tensor(20.0), None, World())
    wrong = Features(images, images.roll(1, 0).repeat_interleave(2, dim=0), given, torch.tensor(20.0), None, World())
    assert objective(right, PLAIN) < objective(wrong, PLAIN)


@pytest.mark.parametrize("name", ["infonce", "siglip"])
def test_gradients_are_those_of_open_clips_losses_scale_and_bias_included(name: str) -> None:
    leaves = [value.requires_grad_() for value in (unit(7, 0), unit(7, 1), torch.tensor(12.0), torch.tensor(-4.0))]
    images, texts, scale, bias = leaves
    own = OBJECTIVES[name](ObjectiveConfig(name))(Features(images, texts, keys(7), scale, bias, World()), PLAIN)
    theirs = SigLipLoss()(images, texts, scale, bias) if name == "siglip" else ClipLoss()(images, texts, scale)
    used = leaves if name == "siglip" else leaves[:3]
    for mine, wanted in zip(torch.autograd.grad(own, used), torch.autograd.grad(theirs, used), strict=True):
        torch.testing.assert_close(mine, wanted)


@pytest.mark.parametrize("hypernyms", [False, True])
def test_keeps_gradient_is_the_slope_of_its_formula(hypernyms: bool) -> None:
    """The formula in NumPy, its slope by central differences."""
    node = np.array([0, 0, 1, 1, -1, 2])
    related = np.eye(3, dtype=bool)
    related[0, 1] = related[1, 0] = True
    classes = [[0, 1], [2, 3], [4], [5]]
    texts = unit(6, 1).double()

    def one_way(scores: Any) -> Any:
        terms = []
        for members in classes:
            apart = [i for i in range(6) if i not in members and not (hypernyms and max(*members, 0) < 4 and i < 4)]
            least_hard = np.log(sum(1 / np.exp(-scores[i, members]).sum() for i in members))
            terms.append(np.log1p(np.exp(np.log(np.exp(scores[members][:, apart]).sum()) - least_hard)))
        return np.mean(terms)

    def formula(images: Any) -> float:
        scores = 25 * images @ texts.numpy().T
        return float((one_way(scores) + one_way(scores.T)) / 2)

    images = unit(6, 0).double().requires_grad_()
    given = keys(6, node=torch.from_numpy(node), related=torch.from_numpy(related))
    rules = Rules("same_disease", ("hypernyms",) if hypernyms else ())
    loss = Keep()(Features(images, texts, given, torch.tensor(25.0).double(), None, World()), rules)
    (gradient,) = torch.autograd.grad(loss, images)
    at = images.detach().numpy()
    assert loss.item() == pytest.approx(formula(at), rel=1e-9)
    for place in np.ndindex(6, 16):
        step = np.zeros_like(at)
        step[place] = 1e-6
        assert gradient[place].item() == pytest.approx((formula(at + step) - formula(at - step)) / 2e-6, rel=1e-4, abs=1e-6)
