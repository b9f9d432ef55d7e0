"""The command that serves: what it says, what it refuses, how it stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

import tiny
from trimtab.cli.console import read_bytes
from trimtab.cli.door import host_name
from trimtab.cli.main import run
from trimtab.cli.serve import _load, _quantization
from trimtab.cli.teller import Serving, Teller
from trimtab.core import device
from trimtab.core.errors import UsageError
from trimtab.models.load import Quantization
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.serve.loading import Capacity, load_service
from trimtab.store.adapter import save_adapter
from trimtab.store.adapter_base import BASE_NAME

TOKEN = "0123456789abcdef0123456789abcdef"
NF4 = {"kind": "nf4", "block_size": 64, "double": True}
FP4 = {"kind": "fp4", "block_size": 32, "double": False}
ASKED = {"messages": [{"role": "user", "content": "on the"}], "max_tokens": 5, "seed": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.llama_folder(tmp_path_factory.mktemp("models") / "base", hidden_size=64, intermediate_size=64)


def adapter(folder: Path, form: Any = ...) -> Path:
    """Write an adapter that learned on weights of a form; ``...`` keeps no record of it."""
    net = tiny.llama(hidden_size=64, intermediate_size=64)
    add_lora(net, LoraSettings(rank=2))
    tiny.tune(net)
    save_adapter(net, folder)
    if form is ...:
        (folder / BASE_NAME).unlink()
    else:
        (folder / BASE_NAME).write_text(json.dumps({"model": "base", "sha256": "", "form": form}), encoding="utf-8")
    return folder


class Command:
    """The real command in a process of its own, on a port that is free."""

    def __init__(self, home: Path, *words: str) -> None:
        line = [sys.executable, "-m", "trimtab.cli.main", "serve", *words, "--port", "0", "--json"]
        environment = os.environ | {device.HOME_VARIABLE: str(home), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment, cwd=home)
        self.events = self._until_it_serves()
        self.url, self.models = self.events[-1]["url"], self.events[-1]["models"]

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self, number: signal.Signals) -> tuple[int, dict[str, object]]:
        """Send a signal; give the exit code and the last event."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=20)
        return self.process.returncode, json.loads(rest.splitlines()[-1])

    def _until_it_serves(self) -> list[dict[str, object]]:
        assert self.process.stdout is not None
        events = []
        for line in self.process.stdout:
            events.append(json.loads(line))
            if events[-1]["event"] == "serving":
                return events
        raise AssertionError(f"it ended with {self.process.wait()}")


def test_it_answers_for_base_and_adapter_and_ends_well_on_sigterm(model, tmp_path):
    with Command(tmp_path, str(model), "--adapter", str(adapter(tmp_path / "demo" / "adapter"))) as command:
        assert command.models == ["base", "base:demo"]
        with openai.OpenAI(base_url=f"{command.url}/v1", api_key="none") as client:
            for name in command.models:
                chunks = client.chat.completions.create(**ASKED, model=name, stream=True)
                assert [chunk.choices[0].finish_reason for chunk in chunks][-1] in ("stop", "length")
        code, last = command.stop(signal.SIGTERM)
    assert (code, last["event"]) == (0, "result")
    assert 0 < last["generated"] <= 10


def test_ctrl_c_ends_it_as_interrupted(tmp_path):
    with Command(tmp_path) as command:
        assert httpx.get(f"{command.url}/health").status_code == 200
        assert command.stop(signal.SIGINT)[0] == 130


def test_an_address_for_others_gets_a_token_of_its_own(tmp_path):
    with Command(tmp_path, "--host", "0.0.0.0") as command:
        token, port = command.events[-1]["token"], command.url.rpartition(":")[2]
        url = f"http://127.0.0.1:{port}/v1/models"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert len(token) > 30


def test_a_token_from_a_file_is_asked_for_and_not_shown(tmp_path):
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    with Command(tmp_path, "--token-file", str(tmp_path / "token")) as command:
        assert TOKEN not in json.dumps(command.events)
        url = f"{command.url}/v1/models"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def complaint(capsys, *words):
    assert run(["serve", *words]) == 2
    return capsys.readouterr().err


def test_a_port_in_use_is_told_before_anything_is_loaded(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port} of 127.0.0.1 is in use" in complaint(capsys, "no-such-model", "--port", port)


@pytest.mark.parametrize(
    "content", [b"", b"short", b"with a space in it 123", b"\xff" * 40, b"tabs\tand\nlines of text"]
)
def test_a_file_that_holds_no_token_is_refused(tmp_path, capsys, content):
    (tmp_path / "token").write_bytes(content)
    assert "--token-file" in complaint(capsys, "--token-file", str(tmp_path / "token"))


def test_what_is_not_there_is_named(tmp_path, capsys):
    assert "--token-file" in complaint(capsys, "--token-file", str(tmp_path / "none"))
    assert "--runs" in complaint(capsys, "--runs", str(tmp_path / "none"))
    assert "no model 'none'" in complaint(capsys, "none", "--port", "0")


@pytest.mark.parametrize("words", [["--port", "70000"], ["--queue", "0"], ["--batch", "-1"], ["--cache", "much"]])
def test_numbers_out_of_range_are_refused(capsys, words):
    assert words[0] in complaint(capsys, *words)


def chosen(model, adapters, told=None):
    return _quantization(model, adapters, told)


def test_dense_weights_become_nf4(model, tmp_path):
    assert chosen(model, []) == Quantization("nf4")
    assert chosen(model, [adapter(tmp_path / "a")]) == Quantization("nf4")


def test_dense_weights_stay_so_when_told(model):
    assert chosen(model, [], "none") is None


def test_weights_that_are_quantized_stay_as_they_are(tmp_path):
    folder = tiny.llama_folder(tmp_path)
    tiny.change_json(folder / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    assert chosen(folder, [], "nf4") is None


@pytest.mark.parametrize(("form", "expected"), [(FP4, Quantization("fp4", 32, False)), (None, None)])
def test_an_adapter_gets_the_weights_that_it_learned_on(model, tmp_path, form, expected):
    assert chosen(model, [adapter(tmp_path / "a", form)]) == expected


def test_adapters_that_learned_on_different_weights_need_a_word(model, tmp_path):
    adapters = [adapter(tmp_path / "a", NF4), adapter(tmp_path / "b", None)]
    with pytest.raises(UsageError, match="Choose with --quantize"):
        chosen(model, adapters)
    assert chosen(model, adapters, "nf4") == Quantization("nf4")


@pytest.mark.parametrize(
    "name", ["https://models.example", "models.example:443", "models.example/", "a b", "", "me@x", "::1"]
)
def test_a_name_that_would_never_match_is_refused(capsys, name):
    assert f"--allow-host {name}" in complaint(capsys, "--allow-host", name)


@pytest.mark.parametrize(
    ("given", "name"), [("MyBox", "mybox"), ("models.example.", "models.example"), ("[::1]", "::1")]
)
def test_names_are_compared_in_lower_case(given, name):
    assert host_name(given) == name


def test_a_token_that_was_made_up_is_told_even_when_quiet(capsys):
    tell = Teller(as_json=False, quiet=True)
    tell.serving(Serving("http://x", [], "a-token"), printed=True)
    assert "a-token" in capsys.readouterr().out
    tell.serving(Serving("http://x", [], "a-token"), printed=False)
    assert capsys.readouterr().out == ""


def test_no_memory_for_prompts_is_allowed():
    assert read_bytes("0", option="--cache", least=0) == 0


def loaded(monkeypatch, model, folder, **options):
    """Give what the command would load a service with."""
    monkeypatch.setattr("trimtab.store.resolve.resolve", lambda _: folder)
    found = []
    monkeypatch.setattr("trimtab.serve.loading.load_service", lambda *_, **given: found.append(given))
    tell = Teller(as_json=False, quiet=True)
    _load(model, [], **({"quantize": None, "device": "cpu", "capacity": Capacity(), "tell": tell} | options))
    return found[0]


def test_a_model_of_the_hub_is_called_as_there(monkeypatch, model):
    assert loaded(monkeypatch, "hf:org/name", model)["name"] == "org/name"
    assert loaded(monkeypatch, "base", model)["name"] is None


def test_the_name_is_that_of_the_answers(model):
    options = {"adapters": {}, "quantization": None, "capacity": Capacity()}
    assert load_service(model, **options, name="org/name").names.all() == ["org/name"]
    assert load_service(model, **options).names.all() == ["base"]


def test_a_device_that_is_not_here_is_refused(capsys, model):
    assert "--device tpu9" in complaint(capsys, str(model), "--port", "0", "--device", "tpu9")


def test_the_model_is_put_where_it_was_asked_for(model):
    options = {"adapters": {}, "quantization": None, "capacity": Capacity(), "device": torch.device("meta")}
    assert load_service(model, **options).engine._decoder.net.device.type == "meta"
