"""Ways to train the text encoder: all of it, or adapters of low rank."""

from __future__ import annotations

import builtins
import copy

import pytest
import torch
from transformers import BertConfig, BertModel

from recbole_instructrec.model.tuning import TunedTransformer
from tests.support import build_all, make_config

IDS, MASK = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]]), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])


def tiny_bert() -> BertModel:
    torch.manual_seed(0)
    return BertModel(
        BertConfig(
            vocab_size=20, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip


def trained(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def test_full_trains_everything():
    assert trained(TunedTransformer(tiny_bert(), "full", 2)) == sum(p.numel() for p in tiny_bert().parameters())


@pytest.mark.parametrize("tuning", ["lora", "adalora"])
def test_adapters_start_as_the_pretrained_model_and_alone_are_trained(tuning):
    pytest.importorskip("peft", reason="the extra tuning is not installed")
    plain = tiny_bert().eval()(input_ids=IDS, attention_mask=MASK).last_hidden_state
    tuned = TunedTransformer(tiny_bert(), tuning, 2).eval()
    assert torch.allclose(tuned(IDS, MASK), plain, atol=1e-4)
    assert 0 < trained(tuned) < trained(tiny_bert()) / 2
    before = {name: p.detach().clone() for name, p in tuned.named_parameters()}
    optimizer = torch.optim.SGD([p for p in tuned.parameters() if p.requires_grad], 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        tuned.train()(IDS, MASK)[..., 0].sum().backward()
        optimizer.step()
    moved = {name for name, p in tuned.named_parameters() if not torch.equal(p, before[name])}
    assert moved and all("lora" in name for name in moved)


def test_adalora_gives_ranks_back_and_keeps_factors_orthogonal():
    pytest.importorskip("peft", reason="the extra tuning is not installed")
    tuned = TunedTransformer(tiny_bert(), "adalora", 2)
    tuned.start_training(20)
    optimizer = torch.optim.Adam([p for p in tuned.parameters() if p.requires_grad], 0.01)

    def ranks() -> int:
        return sum(int((p != 0).sum()) for name, p in tuned.named_parameters() if "lora_E" in name)

    most = 0
    for _ in range(20):
        (tuned.train()(IDS, MASK)[..., 0].pow(2).mean() + tuned.penalty()).backward()
        optimizer.step()
        tuned.after_step()
        optimizer.zero_grad()
        most = max(most, ranks())
    layers = sum("lora_E" in name for name, _ in tuned.named_parameters())
    assert most > 2 * layers >= ranks()  # 3 a layer at first, 2 a layer on average in the end
    before = tuned.penalty()
    with torch.no_grad():
        next(p for name, p in tuned.named_parameters() if "lora_A" in name).mul_(3.0)
    assert tuned.penalty() > before
    assert TunedTransformer(tiny_bert(), "lora", 2).penalty() is None


@pytest.mark.parametrize("stop", [8, 17])  # while ranks move, and after they have settled
def test_adalora_goes_on_with_the_ranks_it_had(stop):
    pytest.importorskip("peft", reason="the extra tuning is not installed")

    def step(tuned, optimizer):
        (tuned(IDS, MASK)[..., 0].pow(2).mean() + tuned.penalty()).backward()
        optimizer.step()
        tuned.after_step()
        optimizer.zero_grad()

    def begin():
        torch.manual_seed(0)
        tuned = TunedTransformer(tiny_bert(), "adalora", 2).eval()  # without dropout
        tuned.start_training(20)
        return tuned, torch.optim.SGD([p for p in tuned.parameters() if p.requires_grad], 0.1)

    whole, optimizer = begin()
    for number in range(20):
        if number == stop:
            kept = copy.deepcopy(whole.state_dict())
        step(whole, optimizer)
    resumed, optimizer = begin()
    resumed.load_state_dict(kept)
    for _ in range(stop, 20):
        step(resumed, optimizer)
    for name, value in whole.named_parameters():
        assert torch.equal(value, dict(resumed.named_parameters())[name]), name


def test_what_cannot_be_tuned_is_said(films, monkeypatch):
    with pytest.raises(ValueError, match="must be frozen, full, lora, adalora"):
        TunedTransformer(tiny_bert(), "half", 2)
    found = builtins.__import__

    def without_peft(name, *args, **kwargs):
        if name == "peft":
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(ValueError, match=r"needs the peft library.*\[tuning\]"):
        TunedTransformer(tiny_bert(), "lora", 2)


def test_training_with_adapters(films, tmp_path):
    """A run from end to end with the learning rate of the adapters, and its checkpoint in a new model."""
    pytest.importorskip("peft", reason="the extra tuning is not installed")
    folder = tmp_path / "bert"
    tiny_bert().save_pretrained(folder)
    from transformers import BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmno"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    options = {
        "text_encoder": str(folder), "text_cache_dir": str(tmp_path / "cache"), "encoder_tuning": "adalora",
        "encoder_learning_rate": 0.0005, "epochs": 2, "checkpoint_dir": str(tmp_path / "saved"), "intent_texts": 40,
    }  # fmt: skip
    _, trainer, train, valid, test = build_all(make_config(films, **options))
    rates = {group["initial_lr"] for group in trainer.optimizer.param_groups}
    assert rates == {0.0005, trainer.config["learning_rate"]}
    trainer.fit(train, valid, verbose=False)
    result = trainer.evaluate(test)
    other = build_all(make_config(films, **options))
    again = other[1].evaluate(other[4], model_file=trainer.saved_model_file)
    assert dict(again) == dict(result)
