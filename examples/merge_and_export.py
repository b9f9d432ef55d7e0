"""Fold an adapter into its base, and write files that transformers and llama.cpp load.

python examples/merge_and_export.py FOLDER
"""

import sys
from pathlib import Path

from tiny_model import write_tiny_model

import trimtab
from trimtab.core.job import result_of
from trimtab.models.export import export_model
from trimtab.models.merge_folder import merge_folder


def main(folder: Path) -> None:
    """Make an adapter, merge it, export it."""
    model = write_tiny_model(folder / "tiny")
    net, tokenizer = trimtab.load(model, quantize=None)
    trimtab.nn.add_lora(net, trimtab.nn.LoraSettings(rank=4, alpha=8))
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = trimtab.optim.PagedAdamW(learning, lr=1e-2)
    batch = tokenizer("A trim tab turns the rudder, and the rudder turns the ship.", return_tensors="pt")
    for _ in range(10):
        net(**batch, labels=batch.input_ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    adapter = trimtab.nn.save_adapter(net, folder / "adapter")

    merged = result_of(merge_folder(model, adapter, folder / "merged"))
    print(f"merged: logits differ by {merged['logit_error']['relative']:.1e} from base + adapter")
    for kind in ("f16", "q8_0"):
        out = folder / f"merged-{kind}.gguf"
        written = result_of(export_model(model, out, form="gguf", adapter=adapter, dtype=kind))
        print(f"{out.name}: {written['bytes']} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/merge-and-export"))
