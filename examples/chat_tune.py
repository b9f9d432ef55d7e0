"""Fine-tune a chat model on rows of your own, from Python: what `trimtab train` does.

python examples/chat_tune.py FOLDER [MODEL]
"""

import sys
from pathlib import Path

from tiny_model import write_tiny_model

from trimtab.core.job import Note, Progress, Result
from trimtab.store.resolve import resolve
from trimtab.train.loop import train
from trimtab.train.request import TrainRequest
from trimtab.train.settings import TrainSettings

ROWS = Path(__file__).parent / "data" / "chat.jsonl"


def main(folder: Path, model: str | None) -> None:
    """Train for twenty steps, listening to the job."""
    base = resolve(model) if model else write_tiny_model(folder / "tiny")
    settings = TrainSettings(
        method="qlora", steps=20, batch_size=2, accumulate=1, lr=5e-3, max_length=256, eval_fraction=0.25
    )
    job = train(TrainRequest(base, str(ROWS), folder / "run", settings))
    for event in job:  # nothing happens unless somebody asks for the next event
        if isinstance(event, Note):
            print(event.text)
        elif isinstance(event, Progress) and event.what == "training" and event.done % 5 == 0:
            print(f"step {event.done}: loss {event.values['loss']:.3f}")
        elif isinstance(event, Result):
            before, after = event.values["eval_loss_before"], event.values["eval_loss_after"]
            print(f"held-out loss {before:.3f} -> {after:.3f}; adapter in {event.values['adapter']}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/chat-tune"), sys.argv[2] if len(sys.argv) > 2 else None)
