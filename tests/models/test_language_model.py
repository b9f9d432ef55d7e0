"""One face for every language model: its head found, its logits understood, its loss where there is a target."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import tiny
from trimtab.core.errors import RangeError
from trimtab.models.language_model import LanguageModel, hidden_states

FAMILIES = list(tiny.FAMILIES)
TREATED = {"gemma2": (1.0, 2.0), "granite": (1 / 8, None), "cohere": (0.25, None), "llama": (1.0, None)}
MASKS = {
    "no padding": ([[1] * 12] * 2, False),
    "padding on the right": ([[1] * 12, [1] * 7 + [0] * 5], False),
    "padding on the left": ([[0] * 5 + [1] * 7, [1] * 12], True),
    "a hole": ([[1] * 5 + [0] + [1] * 6, [1] * 12], True),
    "a row of nothing": ([[0] * 12, [1] * 12], True),
}


def network(family: str) -> nn.Module:
    changes = {"final_logit_softcapping": 2.0} if family == "gemma2" else {}
    return {**tiny.FAMILIES, **tiny.UNUSUAL}[family](**changes)


def inputs(net: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    return {"input_ids": ids} | ({"decoder_input_ids": ids} if net.config.is_encoder_decoder else {})


def summed(logits: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum")


@pytest.mark.parametrize("family", TREATED)
def test_scale_and_soft_cap_of_the_logits_are_found(family):
    head = LanguageModel(network(family)).head
    assert (head.scale, head.softcap) == TREATED[family]


@pytest.mark.parametrize("family", sorted({*FAMILIES, *TREATED}))
def test_the_head_makes_the_networks_own_logits_of_the_hidden_states(family):
    model, ids = LanguageModel(network(family)), tiny.token_ids()
    with torch.no_grad():
        hidden = model.hidden(inputs(model.net, ids))
        made = model.head.logits(hidden.flatten(0, 1)).view(*ids.shape, -1)
    torch.testing.assert_close(made, tiny.logits(model.net, ids))


def test_logits_treated_in_another_way_are_refused():
    def louder(_, __, out):
        out.logits = out.logits * 1.01

    net = tiny.llama()
    net.register_forward_hook(louder)
    with pytest.raises(RangeError, match="not known here"):
        LanguageModel(net)


def test_logits_that_are_no_numbers_are_refused():
    net = tiny.llama()
    with torch.no_grad():
        net.model.norm.weight[0] = float("nan")
    with pytest.raises(RangeError, match="not known here"):
        LanguageModel(net)


def test_a_network_without_a_head_is_no_language_model():
    with pytest.raises(RangeError, match="LlamaModel has no output head"):
        LanguageModel(tiny.llama().model)


@pytest.mark.parametrize("training", [True, False])
def test_looking_at_a_network_leaves_its_mode(training):
    net = tiny.llama().train(training)
    LanguageModel(net)
    assert net.training is training


def test_hidden_states_are_given_without_the_work_of_the_head():
    net = tiny.llama()
    entered = []
    net.model.norm.register_forward_hook(lambda _, __, out: entered.append(out))
    shapes = []
    net.register_forward_hook(lambda _, __, out: shapes.append(out.logits.shape[-1]))
    hidden = hidden_states(net, {"input_ids": tiny.token_ids()})
    assert torch.equal(hidden, entered[0])
    assert shapes == [1]


def test_the_head_is_itself_again_afterwards_also_after_a_failure():
    net, ids = tiny.llama(), tiny.token_ids()
    before = tiny.logits(net, ids)
    with pytest.raises(IndexError):
        hidden_states(net, {"input_ids": ids + 10_000})
    assert torch.equal(tiny.logits(net, ids), before)


def test_a_causal_token_is_predicted_from_the_position_before():
    model, ids = LanguageModel(tiny.llama()), tiny.token_ids(rows=1)
    labels = torch.full_like(ids, -100)
    labels[0, 5] = ids[0, 5]
    loss, targets = model.loss_sum({"input_ids": ids}, labels)
    torch.testing.assert_close(loss.detach(), summed(tiny.logits(model.net, ids)[:, 4], ids[:, 5]))
    assert targets == 1


def test_the_first_token_of_a_causal_row_is_never_a_target():
    ids = tiny.token_ids(rows=3, length=9)
    assert LanguageModel(tiny.llama()).loss_sum({"input_ids": ids}, ids)[1] == 3 * 8


def test_a_decoder_predicts_each_token_in_place():
    model, ids = LanguageModel(tiny.FAMILIES["t5"]()), tiny.token_ids()
    labels = ids.clone()
    labels[0, :4] = -100
    shifted = model.net.prepare_decoder_input_ids_from_labels(labels=labels)
    with torch.no_grad():
        logits = model.net(input_ids=ids, decoder_input_ids=shifted).logits
    loss, targets = model.loss_sum({"input_ids": ids}, labels)
    torch.testing.assert_close(loss.detach(), summed(logits, labels))
    assert targets == ids.numel() - 4


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_nothing_to_learn_costs_nothing(family):
    ids = tiny.token_ids()
    loss, targets = LanguageModel(network(family)).loss_sum({"input_ids": ids}, torch.full_like(ids, -100))
    assert (loss.item(), targets) == (0.0, 0)


@pytest.mark.parametrize("case", MASKS)
def test_a_mask_reaches_the_network_only_where_it_matters(case):
    rows, matters = MASKS[case]
    model, ids, seen = LanguageModel(tiny.llama()), tiny.token_ids(), []
    model.net.register_forward_pre_hook(lambda _, __, given: seen.append("attention_mask" in given), with_kwargs=True)
    model.loss_sum({"input_ids": ids, "attention_mask": torch.tensor(rows)}, ids)
    assert seen == [matters]


@pytest.mark.parametrize("case", MASKS)
def test_a_mask_that_is_dropped_changes_no_loss(case):
    rows = torch.tensor(MASKS[case][0])
    model, ids = LanguageModel(tiny.llama()), tiny.token_ids()
    labels = ids.masked_fill(rows == 0, -100)
    with torch.no_grad():
        logits = model.net(input_ids=ids, attention_mask=rows).logits
    loss, _ = model.loss_sum({"input_ids": ids, "attention_mask": rows}, labels)
    torch.testing.assert_close(loss.detach(), summed(logits[:, :-1], labels[:, 1:]))


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_learns_gets_its_gradient(tied):
    model, ids = LanguageModel(tiny.llama(tied=tied)), tiny.token_ids()
    other = copy.deepcopy(model.net)
    model.loss_sum({"input_ids": ids}, ids)[0].backward()
    summed(other(input_ids=ids).logits[:, :-1], ids[:, 1:]).backward()
    found, expected = (net.get_output_embeddings().weight.grad for net in (model.net, other))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_head_that_was_put_in_later_is_the_one_that_counts():
    model, ids = LanguageModel(tiny.llama()), tiny.token_ids()
    before = model.loss_sum({"input_ids": ids}, ids)[0]
    model.net.lm_head.weight = nn.Parameter(torch.zeros_like(model.net.lm_head.weight))
    loss, targets = model.loss_sum({"input_ids": ids}, ids)
    assert loss.item() != before.item()
    assert loss.item() == pytest.approx(targets * torch.log(torch.tensor(float(tiny.vocabulary_size()))).item())


def test_a_head_of_several_layers_is_applied_as_it_is():
    net, ids = tiny.llama(), tiny.token_ids()
    torch.manual_seed(0)
    net.lm_head = nn.Sequential(nn.Linear(tiny.WIDTH, tiny.WIDTH), nn.Tanh(), net.lm_head)
    model = LanguageModel(net)
    assert model.head is None
    loss, _ = model.loss_sum({"input_ids": ids}, ids)
    torch.testing.assert_close(loss.detach(), summed(tiny.logits(net, ids)[:, :-1], ids[:, 1:]))


def test_a_model_is_where_its_network_is():
    assert LanguageModel(tiny.llama()).device == torch.device("cpu")
