"""BERT's layers as torch's own."""

import pytest
import torch
from transformers import BertConfig, BertModel

from recbole_instructrec.model.fused import FusedBert


def bert(**options: object) -> BertModel:
    torch.manual_seed(3)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    config = BertConfig(vocab_size=50, max_position_embeddings=40, layer_norm_eps=1e-7, **shape, **options)
    model = BertModel(config, add_pooling_layer=False).eval()
    for weight in model.parameters():  # biases and norms begin at 0 and 1, where one could stand for another
        weight.data.add_(0.2 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize("lengths", [[7], [9, 4, 1]])
def test_states_of_all_layers_are_those_of_transformers(lengths: list[int]):
    model = bert()
    ids = torch.randint(1, 50, (len(lengths), max(lengths)))
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    found = FusedBert(model)(ids, mask)
    assert len(found.hidden_states) == len(expected.hidden_states) == 4
    for own, theirs in zip(found.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(own[mask.bool()], theirs[mask.bool()], atol=2e-5, rtol=1e-4)
    assert found.last_hidden_state is found.hidden_states[-1]


def test_a_copy_does_not_share_weights():
    model = bert()
    ids, mask = torch.randint(1, 50, (1, 6)), torch.ones(1, 6, dtype=torch.long)
    fused = FusedBert(model)
    before = fused(ids, mask).last_hidden_state
    for weight in model.parameters():
        weight.data.zero_()
    assert torch.equal(fused(ids, mask).last_hidden_state, before)


def test_what_torch_has_not_is_left_alone():
    assert FusedBert.can_copy(bert())
    assert not FusedBert.can_copy(bert(hidden_act="relu"))
    assert not FusedBert.can_copy(bert(is_decoder=True))
    assert not FusedBert.can_copy(torch.nn.Linear(2, 2))
