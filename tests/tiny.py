"""Builders of tiny real networks and a tiny real tokenizer, shared by many tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

WIDTH, INNER, LAYERS, HEADS, KV_HEADS = 64, 128, 2, 4, 2
WORDS = ("the ", "and ", "trim", "tab", "ing", "er", "on", "lo", "ra")
SPECIALS = ("<|im_start|>", "<|im_end|>", "<pad>", "<unk>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def llama(*, tied: bool = False, bias: bool = False, seed: int = 0, **changes: Any) -> nn.Module:
    """Give a random Llama network in evaluation mode; biases are random too."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = _sizes() | {"tie_word_embeddings": tied, "attention_bias": bias, "num_key_value_heads": KV_HEADS}
    return _random(LlamaForCausalLM, LlamaConfig(**(sizes | changes)), seed)


def causal(model_type: str, *, seed: int = 0, **changes: Any) -> nn.Module:
    """Give a random network of any causal architecture that transformers knows by this name."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(model_type, **(_sizes() | changes))
    return _random(AutoModelForCausalLM.from_config, config, seed)


def vocabulary_size() -> int:
    """Count the tokens of the tiny tokenizer, which is the vocabulary of every tiny network."""
    return len(_tokens()[0]) + len(SPECIALS)


def tokenizer() -> Any:
    """Give a byte-level BPE tokenizer with a chat template."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens, merges = _tokens()
    model = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    model.decoder = decoders.ByteLevel()
    model.post_processor = processors.ByteLevel(trim_offsets=False)
    model.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=model, bos_token=SPECIALS[0], eos_token=SPECIALS[1], pad_token=SPECIALS[2]
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def save(net: nn.Module, folder: Path, *, with_tokenizer: bool = False, shard_size: str | None = None) -> Path:
    """Write a network, and the tiny tokenizer if asked, as transformers does."""
    options = {} if shard_size is None else {"max_shard_size": shard_size}
    net.save_pretrained(folder, **options)  # type: ignore[operator]
    if with_tokenizer:
        tokenizer().save_pretrained(folder)
    return folder


def llama_folder(folder: Path, **options: Any) -> Path:
    """Write a tiny Llama folder with its tokenizer; options as of ``llama``."""
    return save(llama(**options), folder, with_tokenizer=True)


def token_ids(rows: int = 2, length: int = 12, *, seed: int = 1) -> torch.Tensor:
    """Draw token ids, (rows, length)."""
    return torch.randint(vocabulary_size(), (rows, length), generator=torch.Generator().manual_seed(seed))


def tune(net: nn.Module, *, steps: int = 3, lr: float = 1e-2) -> None:
    """Move a network's adapters away from zero with real gradient steps."""
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=lr)
    for step in range(steps):
        ids = token_ids(seed=step)
        net(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def logits(net: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """Give a network's logits without a gradient; an encoder-decoder reads the same ids on both sides."""
    extra = {"decoder_input_ids": ids} if net.config.is_encoder_decoder else {}  # type: ignore[union-attr]
    with torch.no_grad():
        return net(input_ids=ids, **extra).logits


def change_json(path: Path, **changes: Any) -> Path:
    """Set keys of a JSON file; a key set to ``...`` is removed."""
    document = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {key: value for key, value in document.items() if value is not ...}
    path.write_text(json.dumps(kept), encoding="utf-8")
    return path


def _sizes() -> dict[str, Any]:
    return {
        "vocab_size": vocabulary_size(),
        "hidden_size": WIDTH,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 128,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }


def _decoder(
    name: str, *, config_name: str = "", suffix: str = "ForCausalLM", **changes: Any
) -> Callable[..., nn.Module]:
    def build(*, seed: int = 0, **more: Any) -> nn.Module:
        import transformers

        config = getattr(transformers, config_name or f"{name}Config")(**(_sizes() | changes | more))
        return _random(getattr(transformers, name + suffix), config, seed)

    return build


def _t5(*, seed: int = 0, **changes: Any) -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {
        "vocab_size": vocabulary_size(),
        "d_model": WIDTH,
        "d_kv": WIDTH // HEADS,
        "d_ff": INNER,
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "decoder_start_token_id": 0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "dropout_rate": 0.0,
    }
    return _random(T5ForConditionalGeneration, T5Config(**(sizes | changes)), seed)


def _random(kind: Any, config: Any, seed: int) -> nn.Module:
    """Build a network whose one-dimensional parameters are not the ones and zeros that hide mistakes."""
    torch.manual_seed(seed)
    net: nn.Module = kind(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return net


_GEMMA = {"num_key_value_heads": 1, "head_dim": WIDTH // HEADS, "pad_token_id": 0}
_EXPERTS = {"num_key_value_heads": KV_HEADS, "num_experts_per_tok": 2}

FAMILIES: dict[str, Callable[..., nn.Module]] = {
    "llama": llama,
    "qwen2": _decoder("Qwen2", num_key_value_heads=KV_HEADS),
    "qwen3": _decoder("Qwen3", num_key_value_heads=KV_HEADS, head_dim=WIDTH // HEADS),
    "gemma2": _decoder("Gemma2", **_GEMMA),
    "gemma3": _decoder("Gemma3", config_name="Gemma3TextConfig", **_GEMMA),
    "gpt_neox": _decoder("GPTNeoX"),
    "opt": _decoder("OPT", ffn_dim=INNER, word_embed_proj_dim=WIDTH, pad_token_id=1),
    "mixtral": _decoder("Mixtral", num_local_experts=4, **_EXPERTS),
    "qwen3_moe": _decoder("Qwen3Moe", num_experts=4, moe_intermediate_size=WIDTH, head_dim=WIDTH // HEADS, **_EXPERTS),
    "t5": _t5,
}
UNUSUAL: dict[str, Callable[..., nn.Module]] = {
    "gpt_oss": _decoder("GptOss", num_local_experts=4, head_dim=WIDTH // HEADS, **_EXPERTS),
    "granite": _decoder("Granite", num_key_value_heads=KV_HEADS, logits_scaling=8.0),
    "cohere": _decoder("Cohere", num_key_value_heads=KV_HEADS, logit_scale=0.25, pad_token_id=0),
    "gpt2": _decoder("GPT2", suffix="LMHeadModel", n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=128),
}


def _tokens() -> tuple[list[str], list[tuple[str, str]]]:
    """List every byte, then the pieces that build up a few words."""
    from tokenizers import pre_tokenizers

    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        built = ""
        for letter in word.strip():
            if built and (built, letter) not in merges:
                merges.append((built, letter))
            built += letter
            if built not in tokens:
                tokens.append(built)
    return tokens, merges
