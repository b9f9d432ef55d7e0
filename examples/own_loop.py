"""Freeze any network in 4 bits and teach it something new, in a loop of your own.

python examples/own_loop.py FOLDER
"""

import sys
from pathlib import Path

import torch
from torch import nn

import trimtab

BUDGET_BYTES = 16_384  # of optimizer state in memory; the rest waits in a file


def main(folder: Path) -> None:
    """Quantize, adapt, train, save, and load again."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(128, 256), nn.GELU(), nn.Linear(256, 128))
    before = sum(parameter.nbytes for parameter in net.parameters())
    trimtab.nn.quantize_linears(net, kind="nf4")
    after = sum(tensor.nbytes for tensor in net.buffers())
    print(f"frozen: {before} bytes before, {after} after")

    trimtab.nn.add_lora(net, trimtab.nn.LoraSettings(rank=8, alpha=16))
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = trimtab.optim.PagedAdamW(learning, lr=1e-2, budget_bytes=BUDGET_BYTES, page_folder=folder)
    losses = []
    for _ in range(60):
        loss = loss_of(net)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, {optimizer.page_exchanges} pages exchanged")

    adapter = trimtab.nn.save_adapter(net, folder / "adapter")
    trimtab.nn.load_adapter(net, adapter, adapter="again")  # a second adapter on the same base, now the active one
    print(f"saved {adapter}; loss with the loaded copy {loss_of(net).item():.3f}")


def loss_of(net: nn.Module) -> torch.Tensor:
    """Ask for something new: every output is to be the inputs' sum, scaled."""
    x = torch.randn(64, 128)
    wanted = x.sum(dim=1, keepdim=True) / 128**0.5
    return (net(x) - wanted).square().mean()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-loop"))
