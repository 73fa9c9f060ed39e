"""Every loss against a naive loop, one law each, masks, and gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vtr_demo.model.s2ca import HELD_PATCHES
from vtr_demo.training import losses


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def units(*shape, dtype=torch.float64):
    return F.normalize(torch.randn(*shape, dtype=dtype), dim=-1)


def softmax(row):
    top = max(row)
    parts = [math.exp(v - top) for v in row]
    return [p / sum(parts) for p in parts]


def naive_cross_entropy(logits, targets, allowed):
    """Mean over rows that have an allowed target of -sum target * log softmax over the allowed."""
    costs = []
    for row, goal, ok in zip(logits, targets, allowed, strict=True):
        columns = [j for j, yes in enumerate(ok) if yes]
        total = sum(goal[j] for j in columns)
        if total == 0:
            continue
        shares = softmax([row[j] for j in columns])
        costs.append(-sum(goal[j] / total * math.log(p) for j, p in zip(columns, shares, strict=True)))
    return sum(costs) / len(costs) if costs else 0.0


def naive_info_nce(logits, targets, text_mask=None, video_mask=None):
    rows, columns = logits.shape
    texts = [True] * rows if text_mask is None else text_mask.tolist()
    videos = [True] * columns if video_mask is None else video_mask.tolist()
    allowed = torch.tensor([[a and b for b in videos] for a in texts])
    forth = naive_cross_entropy(logits.tolist(), targets.tolist(), allowed.tolist())
    back = naive_cross_entropy(logits.T.tolist(), targets.T.tolist(), allowed.T.tolist())
    return (forth + back) / 2


# --------------------------------------------------------------------------- InfoNCE
SAME = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
"""The first two captions mean the same."""


@pytest.mark.parametrize("kind", ["own", "several", "boolean", "masked"])
def test_info_nce_equals_the_loop(kind):
    logits = torch.randn(4, 4, dtype=torch.float64)
    several = torch.rand(4, 4) * (torch.rand(4, 4) < 0.5)
    targets = {"own": None, "boolean": SAME}.get(kind, several)
    masks = (torch.tensor([True, False, True, True]), torch.tensor([True, True, False, True]))
    masks = masks if kind == "masked" else (None, None)
    expected = naive_info_nce(logits, torch.eye(4) if targets is None else targets.double(), *masks)
    assert losses.info_nce(logits, targets, *masks).item() == pytest.approx(expected)


def test_info_nce_equals_the_library_and_positives_share_the_target_evenly():
    logits, labels = 5 * torch.randn(6, 6, dtype=torch.float64), torch.arange(6)
    library = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    assert losses.info_nce(logits).item() == pytest.approx(library.item())
    equal = torch.block_diag(torch.full((2, 2), 50.0), torch.tensor(50.0), torch.tensor(50.0))
    assert losses.info_nce(equal, SAME).item() == pytest.approx(math.log(2) / 2, abs=1e-6)


def test_soft_targets_are_the_softmax_of_the_captions_both_ways():
    words = units(5, 8)
    cosines = words @ words.T
    targets = losses.soft_targets(cosines, 0.1)
    rows = targets / targets.sum(1, keepdim=True)
    assert torch.allclose(rows, (cosines / 0.1).softmax(1))
    assert torch.allclose(targets / targets.sum(0), (cosines / 0.1).softmax(0))
    assert losses.info_nce(cosines / 0.1, targets) == pytest.approx(-(rows * rows.log()).sum(1).mean().item())


# --------------------------------------------------------------------------- concepts
def naive_concept_contrast(text, video, text_held, video_held, scale):
    directions = []
    for a, b, a_held, b_held in ((text, video, text_held, video_held), (video, text, video_held, text_held)):
        costs = []
        for k in range(a.shape[1]):
            for i in range(len(a)):
                rivals = [j for j in range(len(b)) if b_held[j, k] and j != i]
                if not (a_held[i, k] and b_held[i, k] and rivals):
                    continue
                shares = softmax([scale * float(a[i, k] @ b[j, k]) for j in (i, *rivals)])
                costs.append(-math.log(shares[0]))
        directions.append(sum(costs) / len(costs) if costs else 0.0)
    return sum(directions) / 2


def test_concept_contrast_equals_the_loop():
    text, video = units(5, 3, 4), units(5, 3, 4)
    held = [torch.rand(5, 3) < 0.6 for _ in range(2)]
    value = losses.concept_contrast(text, video, *held, scale=7.0).item()
    assert value == pytest.approx(naive_concept_contrast(text, video, *held, 7.0))
    swapped = losses.concept_contrast(video, text, *held[::-1], scale=7.0).item()
    assert swapped == pytest.approx(value)


def test_equal_concepts_cost_log_batch_and_a_lone_pair_nothing():
    same, held = torch.ones(4, 2, 1), torch.ones(4, 2, dtype=torch.bool)
    assert losses.concept_contrast(same, same, held, held).item() == pytest.approx(math.log(4))
    held[1:, 1] = False  # nobody to compare with in concept 1
    assert losses.concept_contrast(same, same, held, held).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("held", [[], [0]])
def test_a_concept_that_nobody_shares_gives_zero_and_finite_gradients(held):
    text, video = torch.randn(3, 2, 4, requires_grad=True), torch.randn(3, 2, 4, requires_grad=True)
    mask = torch.zeros(3, 2, dtype=torch.bool)
    mask[held, 0] = True
    value = losses.concept_contrast(text, video, mask, mask)
    value.backward()
    assert value.item() == 0
    assert torch.equal(text.grad, torch.zeros_like(text))
    assert torch.equal(video.grad, torch.zeros_like(video))


# --------------------------------------------------------------------------- statistical constraints
def naive_symmetric_kl(a, b, temperature):
    total = 0.0
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        p, q = softmax([v / temperature for v in x]), softmax([v / temperature for v in y])
        total += sum(i * math.log(i / j) + j * math.log(j / i) for i, j in zip(p, q, strict=True)) / 2
    return total / len(a)


def test_kl_equals_the_loop_is_symmetric_and_zero_for_equals():
    a, b = units(4, 6), units(4, 6)
    value = losses.symmetric_kl(a, b).item()
    assert value == pytest.approx(naive_symmetric_kl(a, b, 0.05))
    assert losses.symmetric_kl(b, a).item() == pytest.approx(value)
    assert losses.symmetric_kl(a, a).item() == 0


def test_a_missing_level_has_no_effect_on_the_kl():
    a, b, mask = units(4, 6), units(4, 6), torch.tensor([True, False, True, True])
    value = losses.symmetric_kl(a, b, mask=mask).item()
    assert value == pytest.approx(losses.symmetric_kl(a[mask], b[mask]).item())
    assert losses.symmetric_kl(a, b, mask=torch.zeros(4, dtype=torch.bool)).item() == 0


def test_focal_bce_equals_the_loop():
    logits = 3 * torch.randn(4, 5, dtype=torch.float64)
    labels = (torch.rand(4, 5) < 0.3).double()
    total = 0.0
    for z, y in zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-z))
        total -= 0.25 * (1 - p) ** 2 * y * math.log(p) + 0.75 * p**2 * (1 - y) * math.log(1 - p)
    assert losses.focal_bce(logits, labels).item() == pytest.approx(total / 4)


def test_focal_bce_without_focus_is_half_the_plain_one():
    logits, labels = torch.randn(4, 5), (torch.rand(4, 5) < 0.4).float()
    plain = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / 4
    assert losses.focal_bce(logits, labels, gamma=0, alpha=0.5).item() == pytest.approx(plain.item() / 2)


def test_focal_bce_stands_extreme_logits():
    wild = torch.tensor([[1e4, -1e4]], requires_grad=True)
    losses.focal_bce(wild, torch.tensor([[0.0, 1.0]])).backward()
    assert wild.grad.isfinite().all()


# --------------------------------------------------------------------------- prototypes
def balance(allocation, mask):
    return losses.usage_balance(losses.allocation_sums(allocation, mask), mask.sum())


def test_diversity_equals_the_loop_and_runs_from_orthogonal_to_equal():
    p = torch.randn(4, 6, dtype=torch.float64)
    pairs = [float(F.cosine_similarity(p[i], p[j], dim=0)) ** 2 for i in range(4) for j in range(4) if i != j]
    assert losses.prototype_diversity(p).item() == pytest.approx(sum(pairs) / 12)
    assert losses.prototype_diversity(5 * torch.eye(3)).item() == 0
    assert losses.prototype_diversity(torch.ones(3, 4)).item() == pytest.approx(1)
    assert losses.prototype_diversity(torch.ones(1, 4)).item() == 0


def test_balance_equals_the_loop_and_is_least_where_tokens_are_certain_and_use_is_even():
    soft, mask = torch.randn(3, 4, 5, dtype=torch.float64).softmax(1), torch.rand(3, 5) < 0.7
    tokens = [soft[b, :, n].tolist() for b in range(3) for n in range(5) if mask[b, n]]
    mean = [sum(t[k] for t in tokens) / len(tokens) for k in range(4)]
    expected = math.log(4) + sum(m * math.log(m) for m in mean)
    expected -= sum(p * math.log(p) for t in tokens for p in t) / len(tokens)
    assert balance(soft, mask).item() == pytest.approx(expected)
    everything = torch.ones(2, 6, dtype=torch.bool)
    collapsed = F.one_hot(torch.zeros(2, 6, dtype=torch.long), 4).mT.float()
    assert balance(collapsed, everything).item() == pytest.approx(math.log(4))
    uniform = torch.full((2, 4, 6), 0.25)
    assert balance(uniform, everything).item() == pytest.approx(math.log(4), rel=1e-5)
    certain = F.one_hot(torch.arange(12).view(2, 6) % 4, 4).mT.float()
    assert balance(certain, everything).item() == pytest.approx(0, abs=1e-5)
    for t in (0.1, 0.5, 0.9):  # and every mixture lies strictly between
        assert 0 < balance(t * certain + (1 - t) * uniform, everything).item() < math.log(4)


# --------------------------------------------------------------------------- distillation
def test_reconstruction_equals_the_loop_and_lies_between_zero_and_four():
    y, f = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    costs = [
        float(((y[b, n] / y[b, n].norm() - f[b, n] / f[b, n].norm()) ** 2).sum())
        for b in range(2)
        for n in range(3)
        if mask[b, n]
    ]
    assert losses.reconstruction(y, f, mask).item() == pytest.approx(sum(costs) / 3)
    assert losses.reconstruction(y, 9 * y).item() == pytest.approx(0, abs=1e-12)
    assert losses.reconstruction(y, -y).item() == pytest.approx(4)
    y[0, 2] = f[1, 1] = 1e6
    assert losses.reconstruction(y, f, mask).item() == pytest.approx(sum(costs) / 3)


def test_no_gradient_reaches_a_teacher():
    student, teacher = torch.randn(3, 3, requires_grad=True), torch.randn(3, 3, requires_grad=True)
    losses.reconstruction(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


# --------------------------------------------------------------------------- all
HELD = torch.tensor([[True, True], [True, False], [False, True]])
CASES = {
    "info_nce": (lambda x: losses.info_nce(x @ x.T, torch.eye(3), HELD[:, 0], HELD[:, 1]), (3, 4)),
    "info_nce soft": (lambda x: losses.info_nce(x @ x.T, losses.soft_targets(torch.eye(3))), (3, 4)),
    "concept_contrast": (lambda x: losses.concept_contrast(x, x.flip(-1), HELD, HELD, scale=3.0), (3, 2, 4)),
    "symmetric_kl": (lambda x: losses.symmetric_kl(x, x.flip(-1), 0.5), (3, 4)),
    "focal_bce": (lambda x: losses.focal_bce(x, HELD), (3, 2)),
    "prototype_diversity": (losses.prototype_diversity, (3, 4)),
    "usage_balance": (lambda x: balance(x.softmax(1), HELD), (3, 4, 2)),
    "reconstruction": (lambda x: losses.reconstruction(x, torch.ones(3, 2, 4).double(), HELD), (3, 2, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_finite_differences(name):
    loss, shape = CASES[name]
    assert torch.autograd.gradcheck(loss, torch.randn(*shape, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_gives_a_finite_float32_scalar_close_to_the_exact_one(name, kind):
    loss, shape = CASES[name]
    x = torch.randn(*shape).to(kind)
    value = loss(x.clone().requires_grad_())
    assert value.shape == ()
    assert value.item() == pytest.approx(loss(x.double()).item(), rel=0.05, abs=0.02)


def test_mixed_precision_training_does_not_blur_the_products_inside():
    text, video, held = units(6, 2, 64).float(), units(6, 2, 64).float(), torch.ones(6, 2, dtype=torch.bool)
    for loss in (
        lambda: losses.concept_contrast(text, video, held, held, scale=100.0),
        lambda: losses.prototype_diversity(text[:, 0]),
    ):
        exact = loss().item()
        with torch.autocast("cpu", torch.bfloat16):
            assert loss().item() == pytest.approx(exact, rel=1e-6)


def test_occurrence_is_zero_where_what_is_said_is_shown_and_equals_a_loop() -> None:
    torch.manual_seed(0)
    soft, mask = torch.randn(3, 5, 9).softmax(1), torch.rand(3, 9) > 0.2
    said, rows = torch.rand(3, 5), torch.tensor([True, False, True])
    total = 0.0
    for b in (0, 2):
        for k in range(5):
            highest = sorted(soft[b, k, mask[b]].tolist(), reverse=True)[:HELD_PATCHES]
            p = sum(highest) / HELD_PATCHES
            s = float(said[b, k])
            total -= s * math.log(p) + losses.UNNAMED_WEIGHT * (1 - s) * math.log(1 - p)
    assert losses.occurrence(soft, said, mask, rows).item() == pytest.approx(total / 10, rel=1e-5)
    shown = torch.eye(5)[torch.tensor([0] * 4 + [2] * 5)].T.unsqueeze(0)
    named = torch.tensor([[1.0, 0, 1, 0, 0]])
    everywhere, one = torch.ones(1, 9, dtype=torch.bool), torch.ones(1, dtype=torch.bool)
    assert losses.occurrence(shown, named, everywhere, one).item() == pytest.approx(0, abs=1e-4)
    assert losses.occurrence(shown, 1 - named, everywhere, one).item() > 1
    assert losses.occurrence(soft, said, mask, ~rows & False).item() == 0
