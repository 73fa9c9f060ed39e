"""The objective: one named term a weight, each equal to its loss written out, each heard by the heads."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests.helpers.models import PATCH, WIDTH, alive, small_model, text_tokens, video_tokens
from tests.training.test_losses import balance
from vtr_demo.config import LossConfig
from vtr_demo.data.grounding import UNKNOWN, AllocationTruth
from vtr_demo.data.sampler import ShortTexts
from vtr_demo.model.mcsan import unit
from vtr_demo.model.model import VTRModel
from vtr_demo.model.s2ca import ConceptOutput
from vtr_demo.structures import LEVELS, map_tensors
from vtr_demo.training.distillation import Distiller
from vtr_demo.training.losses import attention_nll, info_nce, symmetric_kl
from vtr_demo.training.objective import Batch, HardNegatives, Heads, check_finite, loss_terms

EVERY = LossConfig()
NAMES = {
    "total", *LEVELS, "pairs", "kl", "attributes", "concepts", "diversity", "balance", "distill",
}  # fmt: skip
SIZES = (5, 3, 4, 2)


def model() -> VTRModel:
    return small_model(attributes=SIZES, trained=True)


def distiller() -> Distiller:
    torch.manual_seed(4)
    made = alive(Distiller(5, WIDTH, PATCH, WIDTH, 0.0)).eval()
    assert isinstance(made, Distiller)
    return made


def batch() -> Batch:
    """Two photos and four clips; each has a sentence, and two have false ones."""
    generator = torch.Generator().manual_seed(9)
    meaning = F.normalize(torch.randn(6, 5, WIDTH, generator=generator), dim=-1)
    labels = tuple((torch.rand(6, size, generator=generator) > 0.7).float() for size in SIZES)
    contrasts = HardNegatives(text_tokens(5, 6, 7, seed=8), torch.tensor([2, 2, 5]), torch.tensor([1, 2, 3]))
    videos = (video_tokens(1, 1, seed=1), video_tokens(4, 3, 4, 2, seed=2))
    return Batch(videos, text_tokens(7, 3, 5, 6, 4, 8, seed=3), meaning, labels, contrasts)


@pytest.mark.parametrize("side", ["video", "text"])
def test_a_masked_token_teaches_the_other_concepts_and_not_its_own(side: str) -> None:
    generator = torch.Generator().manual_seed(3)
    concepts, tokens = 4, 6
    student = alive(Distiller(5, WIDTH, PATCH, WIDTH, 1.0)).train()
    held = torch.tensor([2, 2, 0, 2, 2, 2])  # token 2 is the only one of concept 0
    allocation = F.one_hot(held, concepts).T.float().expand(3, concepts, tokens)
    aggregated = torch.randn(3, concepts, 5, generator=generator, requires_grad=True)
    occupied = torch.ones(3, concepts, dtype=torch.bool)
    output = ConceptOutput(aggregated, aggregated, occupied, allocation, allocation)
    teacher = torch.randn(3, tokens, PATCH if side == "video" else WIDTH, generator=generator)
    mask = torch.zeros(3, tokens, dtype=torch.bool)
    mask[:, 2] = True
    assert isinstance(student, Distiller)
    student.token_loss(output, mask, teacher, side).backward()
    assert aggregated.grad is not None
    heard = aggregated.grad.abs().sum(-1)
    assert (heard[:, 1:] > 1e-4).all()
    assert heard[:, 0].max() < 1e-6


def test_every_term_has_its_name_and_a_weight_of_zero_switches_it_off() -> None:
    terms = loss_terms(Heads(model()), batch(), EVERY, distiller())
    assert set(terms) == NAMES
    assert all(torch.isfinite(value) and value.ndim == 0 for value in terms.values())
    weights = ["total", "pairs", "kl", "attributes", "concepts", "diversity", "balance", "distill"]
    for name in weights:
        without = loss_terms(Heads(model()), batch(), EVERY.replace(**{name: 0.0}), distiller())
        assert set(without) == NAMES - {name}
    assert set(loss_terms(Heads(model()), batch(), EVERY.replace(levels=0.0), distiller())) == NAMES - {*LEVELS}
    assert "distill" not in loss_terms(Heads(model()), batch(), EVERY, None)
    assert "pairs" not in loss_terms(Heads(model()), replace(batch(), hard_negatives=None), EVERY, distiller())


def test_the_ranking_of_the_total_is_cross_entropy_over_the_score_table() -> None:
    """By the weights that are served; those of zero leave gradients finite."""
    config = LossConfig(soft_temperature=0.0)
    heads = small_model(trained=True, level_weights=(1.0, 0.0, 0.25, 0.5), concept_weight=0.1)
    data = batch()
    loss_terms(Heads(heads), data, config)["total"].backward()
    assert all(torch.isfinite(p.grad).all() for p in heads.parameters() if p.grad is not None)
    with torch.no_grad():
        text = heads.encode_text(data.texts)
        columns = [heads.encode_video(tokens) for tokens in data.videos]
        table = torch.cat([heads.scores(text, video) for video in columns], 1) * config.scale
        right = torch.arange(6)
        expected = (F.cross_entropy(table, right) + F.cross_entropy(table.T, right)) / 2
        assert torch.allclose(loss_terms(Heads(heads), data, config)["total"], expected, atol=1e-5)


def test_short_queries_are_ranked_among_all_clips_that_are_right_and_wrong() -> None:
    heads, data, config = model(), batch(), LossConfig(short=0.5)
    right = torch.tensor([[1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 1]]).bool()
    short = ShortTexts(text_tokens(2, 3, seed=5), torch.tensor([1, 0]), right)
    with torch.no_grad():
        term = loss_terms(Heads(heads), replace(data, short=short), config)["short"]
        text = heads.encode_text(short.tokens)
        videos = [heads.encode_video(tokens) for tokens in data.videos]
        levels = torch.cat([video.levels for video in videos])
        score = torch.cat([heads.scores(text, video, heads.training_weights) for video in videos], 1)
        expected = info_nce(config.scale * score, right)
        for level, row in ((1, 0), (0, 1)):  # each in the level that it asks
            cosines = text.levels[[row], level] @ levels[:, level].T
            expected = expected + info_nce(config.scale * cosines, right[[row]])
    assert torch.allclose(term, 0.5 * expected, atol=1e-5)


def test_the_focus_is_least_where_the_attention_is_spread_over_the_things() -> None:
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    spread, aside = torch.tensor([[0.5, 0.5, 0, 0]] * 2), torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 2)
    assert float(attention_nll(spread, mask)) == pytest.approx(math.log(2))
    assert float(attention_nll(aside, mask)) == pytest.approx(-(math.log(0.1) + math.log(0.2)) / 2)
    assert float(attention_nll(aside, mask[1:])) == 0


def test_the_anchor_is_how_far_files_and_captions_have_moved_and_drawn_clips_are_free() -> None:
    config = LossConfig(anchor=1.0)
    heads, data = small_model(focus=3, trained=True), batch()
    start = deepcopy(heads.text)
    labels = tuple(torch.full(v.patches.shape[:3], UNKNOWN) for v in data.videos)
    words = torch.full((6, 8), UNKNOWN)
    labels[1][2:] = 3  # the last two clips are drawn
    data = replace(data, truth=AllocationTruth(labels, words))
    with torch.no_grad():
        heads.text.pools[1].value_base.weight.add_(0.1 * torch.randn(WIDTH, WIDTH))
        term = loss_terms(Heads(heads), data, config, start=start)["anchor"]
        outs = [heads.video(v) for v in data.videos]
        files = [out.vectors[:n, 1] - unit(out.entity[:n]) for out, n in zip(outs, (2, 2), strict=True)]
        texts = heads.text(data.texts)[0].vectors[:, 1] - start(data.texts)[0].vectors[:, 1]
    expected = sum(float(d.square().sum()) for d in files) / 4 + float(texts.square().sum()) / 6
    assert float(term) == pytest.approx(expected, rel=1e-4)
    assert expected > 0


def test_the_kl_constraint_is_its_sum_over_the_levels_that_sentences_have() -> None:
    heads, data = model(), batch()
    data.texts.level_mask[[0, 3], 2] = False  # two sentences without an action
    with torch.no_grad():
        text = heads.encode_text(data.texts).levels
        video = torch.cat([heads.encode_video(v).levels for v in data.videos])
        found = loss_terms(Heads(heads), data, EVERY)["kl"]
    kept = {level: [i for i in range(6) if level != 2 or i not in (0, 3)] for level in range(len(LEVELS))}
    expected = sum(symmetric_kl(video[rows, level], text[rows, level]) for level, rows in kept.items())
    assert float(found) == pytest.approx(EVERY.kl * float(expected), rel=1e-3)


def test_a_level_is_ranked_among_the_sentences_that_have_it() -> None:
    config = LossConfig(soft_temperature=0.0, levels=1.0)
    heads, data = model(), batch()
    data.texts.level_mask[[0, 3], 2] = False  # two sentences without an action
    with torch.no_grad():
        text, kept = heads.encode_text(data.texts), [1, 2, 4, 5]
        seen = torch.cat([heads.encode_video(tokens).levels for tokens in data.videos])
        table = config.scale * text.levels[kept, 2] @ seen[kept, 2].T
        right = torch.arange(4)
        expected = (F.cross_entropy(table, right) + F.cross_entropy(table.T, right)) / 2
        assert torch.allclose(loss_terms(Heads(heads), data, config)["action"], expected, atol=1e-5)


def test_soft_targets_of_a_level_come_from_that_levels_own_meaning() -> None:
    heads, data = model(), batch()
    before = loss_terms(Heads(heads), data, EVERY)
    data.meaning[:, 1 + 2] = F.normalize(torch.ones(6, WIDTH), dim=-1)  # the actions all mean the same
    after = loss_terms(Heads(heads), data, EVERY)
    changed = {name for name in before if not torch.allclose(before[name], after[name], atol=1e-6)}
    assert changed == {"action"}


def test_minimal_pairs_compare_the_total_and_the_level_that_is_wrong() -> None:
    """The mean over the levels of each level's mean: two wrong entities count as much as one action."""
    heads, data = model(), batch()
    falsely = ((2, 1), (2, 3), (5, 1))
    wrong = torch.tensor([level for _, level in falsely])
    data = replace(data, hard_negatives=replace(data.hard_negatives, levels=wrong))  # type: ignore[type-var]
    assert data.hard_negatives is not None
    weights = heads.training_weights
    with torch.no_grad():
        true, false = heads.encode_text(data.texts), heads.encode_text(data.hard_negatives.tokens)
        seen = [heads.encode_video(tokens) for tokens in data.videos]
        flat, levels = torch.cat([v.flat() for v in seen]), torch.cat([v.levels for v in seen])
        sums: dict[int, list[float]] = {}
        for i, (row, level) in enumerate(falsely):
            gap = (true.flat(weights)[row] - false.flat(weights)[i]) @ flat[row]
            own = (true.levels[row, level] - false.levels[i, level]) @ levels[row, level]
            lost = float(F.softplus(-20 * gap) + F.softplus(-20 * own))
            sums.setdefault(level, []).append(lost)
        expected = EVERY.pairs * sum(sum(s) / len(s) for s in sums.values()) / len(sums)
    assert float(loss_terms(Heads(heads), data, EVERY)["pairs"].detach()) == pytest.approx(expected, rel=1e-4)


def test_the_order_of_the_batch_changes_no_term() -> None:
    heads, data = model(), replace(batch(), hard_negatives=None)
    turned = map_tensors(data, lambda x: x[[1, 0, 4, 2, 5, 3]] if len(x) == 6 else x)
    photos, clips = data.videos  # photos stay among photos
    orders = (photos, [1, 0]), (clips, [2, 0, 3, 1])
    turned = replace(turned, videos=tuple(map_tensors(group, lambda x, o=order: x[o]) for group, order in orders))
    before, after = (loss_terms(Heads(heads), d, EVERY, distiller()) for d in (data, turned))
    for name, value in before.items():
        assert torch.allclose(value, after[name], atol=1e-4), name


def tensors(record: Any) -> list[torch.Tensor]:
    """All tensors of nested records, in order."""
    found: list[torch.Tensor] = []
    map_tensors(record, lambda x: found.append(x) or x)
    return found


def test_groups_of_one_length_go_through_the_heads_together_and_come_back_apart() -> None:
    heads = model()
    videos = tuple(video_tokens(*lengths, seed=i) for i, lengths in enumerate([(1, 1), (4, 3), (1,), (4, 2)]))
    calls: list[int] = []
    heads.video.register_forward_pre_hook(lambda _, arguments: calls.append(len(arguments[0])))
    found = Heads(heads).videos(videos)
    assert calls == [3, 4]
    for one, out in zip(videos, found, strict=True):
        torch.testing.assert_close(tensors(out), tensors(heads.forward_video(one)))


def test_terms_and_gradients_are_finite_without_actions_and_relationships() -> None:
    config = EVERY.replace(soft_temperature=0.0)
    heads, teacher = model().train(), distiller().train()
    data = batch()
    data.texts.level_mask[:, 2:] = False  # no sentence has an action or a relationship
    terms = loss_terms(Heads(heads), data, config, teacher)
    assert check_finite(terms) == ""
    torch.stack(list(terms.values())).sum().backward()
    gradients = [p.grad for p in [*heads.parameters(), *teacher.parameters()] if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_all_terms_together_reach_every_parameter() -> None:
    heads, teacher = model().train(), distiller().train()
    teacher.mask_share = 0.5
    torch.manual_seed(0)
    terms = loss_terms(Heads(heads), batch(), EVERY, teacher)
    torch.stack(list(terms.values())).sum().backward()
    named = [*heads.named_parameters(), *teacher.named_parameters()]
    assert [name for name, p in named if p.grad is None or not p.grad.abs().max() > 0] == []


def test_the_first_term_that_is_not_finite_is_named() -> None:
    good, nan, inf = torch.tensor(1.0), torch.tensor(float("nan")), torch.tensor(float("inf"))
    assert check_finite({"total": good, "kl": good}) == ""
    assert check_finite({"total": good, "kl": nan, "distill": inf}) == "kl"
    assert check_finite({"total": inf}) == "total"


def test_a_batch_of_one_pair_has_nothing_to_rank_and_breaks_nothing() -> None:
    data = Batch((video_tokens(2),), text_tokens(4), F.normalize(torch.randn(1, 5, WIDTH), dim=-1),
                 tuple(torch.zeros(1, size) for size in SIZES))  # fmt: skip
    terms = loss_terms(Heads(model()), data, EVERY, distiller())
    assert check_finite(terms) == ""
    assert float(terms["total"].detach()) == pytest.approx(0, abs=1e-6)


def test_the_balance_of_words_counts_those_of_things_and_actions() -> None:
    """Other words may crowd one concept; where no word is of a thing or an action nothing is balanced."""
    one, config = model(), LossConfig(balance=1.0)
    given = batch()
    level_mask = given.texts.level_mask.clone()
    level_mask[:, 1:3] = False
    silent = replace(given, texts=replace(given.texts, level_mask=level_mask), videos=given.videos)
    videos = [one.forward_video(tokens) for tokens in given.videos]
    shares = [balance(out.concepts.soft, out.concept_mask) for out in videos]
    expected = torch.stack([*shares, torch.zeros(())]).mean()
    assert torch.allclose(loss_terms(Heads(one), silent, config)["balance"], expected, atol=1e-6)
    content = F.pad(given.texts.level_mask[:, 1:3].any(1) & given.texts.word_mask, (1, 0))
    said = balance(one.forward_text(given.texts).concepts.soft, content)
    expected = torch.stack([*shares, said]).mean()
    assert torch.allclose(loss_terms(Heads(one), given, config)["balance"], expected, atol=1e-6)


def test_a_distiller_is_born_with_gradients_of_ordinary_size() -> None:
    """A vector without direction is normalised with a slope of 1e12: one step would drown all else."""
    torch.manual_seed(0)
    taught = Distiller(5, WIDTH, PATCH, WIDTH, 0.75).train()
    loss_terms(Heads(model().train()), batch(), EVERY, taught)["distill"].backward()
    slopes = {name: weight.grad.abs().max().item() for name, weight in taught.named_parameters()
              if weight.grad is not None}  # fmt: skip
    assert len(slopes) > 4
    assert max(slopes.values()) < 100, slopes


class Copied(TorchDispatchMode):
    """Counts what a GPU would wait for: numbers that Python hands over, and what Python is told."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if any(part in name for part in ("lift_fresh", "_local_scalar_dense", "nonzero", "bincount")):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_the_losses_of_a_step_wait_for_no_number() -> None:
    """Constants are made at the first step; each one made anew would let a GPU run dry."""
    heads, data, teacher = model().train(), batch(), distiller()
    loss_terms(Heads(heads), data, EVERY, teacher)
    with Copied() as copied:
        loss_terms(Heads(heads), data, EVERY, teacher)
    assert [name for name in copied.found if "count_nonzero" not in name] == []
    with Copied() as copied:
        torch.tensor([1.0]).item()
    assert len(copied.found) == 2
