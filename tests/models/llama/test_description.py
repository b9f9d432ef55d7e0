"""Reading a config without transformers: the same network, or a plain no."""

from __future__ import annotations

from dataclasses import asdict

import pytest

import tiny
from llama_family import NETWORKS
from trimtab.models.llama.description import SIZES, describe

COMPUTED = ("is_encoder_decoder",)
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}


@pytest.fixture
def folder(tmp_path):
    return tiny.save(tiny.llama(), tmp_path)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_config_means_what_it_means_to_transformers(tmp_path, name):
    net = NETWORKS[name]()
    described = describe(tiny.save(net, tmp_path))
    assert described is not None
    for key, value in asdict(described).items():
        assert getattr(net.config, key, value) == value, key


@pytest.mark.parametrize("kind", ["type", "rope_type"])
def test_the_older_way_to_write_a_rotation_is_read(folder, kind):
    tiny.change_json(
        folder / "config.json", rope_parameters=None, rope_theta=5e5, rope_scaling={kind: "linear", "factor": 2.0}
    )
    described = describe(folder)
    assert described is not None
    assert described.rope_parameters == {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}


def test_a_bare_base_is_a_plain_rotation(folder):
    tiny.change_json(folder / "config.json", rope_parameters=None, rope_theta=10000)
    described = describe(folder)
    assert described is not None
    assert described.rope_parameters == {"rope_type": "default", "rope_theta": 10000}


def test_a_head_without_a_width_gets_its_share(folder):
    tiny.change_json(folder / "config.json", head_dim=None)
    described = describe(folder)
    assert described is not None
    assert described.head_dim == tiny.WIDTH // tiny.HEADS


@pytest.mark.parametrize("key", [*SIZES, "hidden_act", "rms_norm_eps", "tie_word_embeddings", "rope_parameters"])
def test_what_is_not_stated_is_left_to_transformers(folder, key):
    tiny.change_json(folder / "config.json", **{key: None})
    assert describe(folder) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "gemma"},
        {"model_type": "mistral", "sliding_window": "wide"},
        {"model_type": "mistral", "sliding_window": 4, "layer_types": ["full_attention"] * 2},
        {"model_type": "qwen2", "use_sliding_window": True, "sliding_window": 4},
        {"model_type": "qwen2", "layer_types": ["full_attention", "sliding_attention"]},
        {"model_type": "qwen3", "head_dim": None},
        {"partial_rotary_factor": 0.5},
        {"original_max_position_embeddings": 64},
        {"num_key_value_heads": 3},
        {"hidden_size": 66, "head_dim": None},
        {"hidden_act": 3},
        {"rms_norm_eps": True},
        {"tie_word_embeddings": "yes"},
        {"rope_parameters": "default"},
        {"rope_parameters": {"rope_type": ["yarn"], "rope_theta": 1e4}},
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        {"rope_parameters": YARN | {"factor": "4"}},
        {"rope_parameters": YARN | {"rope_theta": 1}},
        {"rope_parameters": YARN | {"beta_fast": "32"}},
        {"rope_parameters": YARN | {"factor": -1.0}},
    ],
)
def test_what_only_transformers_can_read_is_left_to_it(folder, changes):
    tiny.change_json(folder / "config.json", **changes)
    assert describe(folder) is None
