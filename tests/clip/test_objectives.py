import numpy as np
import torch
from open_clip import ClipLoss

from eosin.clip.objective import contrastive_loss, positive_pairs


def unit(rows: int, seed: int) -> torch.Tensor:
    features = torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(features, dim=-1)


def test_one_positive_each_is_open_clips_loss() -> None:
    images, texts, scale = unit(9, 0), unit(9, 1), torch.tensor(14.0)
    wanted = ClipLoss()(images, texts, scale)
    logits = scale * images @ texts.T
    torch.testing.assert_close(contrastive_loss(logits), wanted)
    torch.testing.assert_close(contrastive_loss(logits, torch.eye(9, dtype=torch.bool)), wanted)


def test_targets_are_shared_among_positives_in_both_directions() -> None:
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(3))
    positive = torch.tensor([[True, True, False], [True, True, False], [True, False, True]])
    rows, columns = logits.log_softmax(dim=1), logits.log_softmax(dim=0)
    to_text = -torch.stack([rows[i][positive[i]].mean() for i in range(3)]).mean()
    to_image = -torch.stack([columns[:, j][positive[:, j]].mean() for j in range(3)]).mean()
    torch.testing.assert_close(contrastive_loss(logits, positive), (to_text + to_image) / 2)


def test_a_caption_belongs_to_every_image_that_holds_it_or_has_its_label() -> None:
    held = np.array([[0, 1, 2], [1, 3, -1], [4, -1, -1], [5, -1, -1]])
    drawn = np.array([1, 3, 4, 5])
    by_caption = positive_pairs(drawn, held)
    assert by_caption.tolist() == [
        [True, False, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, False, False, True],
    ]
    by_label = positive_pairs(drawn, held, np.array([7, -1, 7, -1]))
    assert by_label[0].tolist() == [True, False, True, False]
    assert by_label[3].tolist() == [False, False, False, True], "a missing label makes nobody alike"
