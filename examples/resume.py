"""Stop a run in the middle, go on, and end with the bytes of a run that was never stopped.

python examples/resume.py FOLDER
"""

import sys
from pathlib import Path

from tiny_model import write_tiny_model

from trimtab.core.job import Progress, result_of
from trimtab.train.loop import train
from trimtab.train.request import TrainRequest
from trimtab.train.settings import TrainSettings

ROWS = Path(__file__).parent / "data" / "alpaca.jsonl"
SETTINGS = TrainSettings(steps=8, batch_size=2, accumulate=1, max_length=128, eval_fraction=0.0)


def main(folder: Path) -> None:
    """Train twice, once with a break, and compare the adapters."""
    model = write_tiny_model(folder / "tiny")
    straight = TrainRequest(model, str(ROWS), folder / "straight", SETTINGS)
    result_of(train(straight))

    broken = TrainRequest(model, str(ROWS), folder / "broken", SETTINGS)
    job = train(broken)
    for event in job:
        if isinstance(event, Progress) and event.done == 3:
            break
    job.close()  # type: ignore[attr-defined]  # as Ctrl-C does: the last finished step is saved
    print(f"stopped after step 3; {len(list((broken.out / 'checkpoints').iterdir()))} checkpoint is there")
    result_of(train(broken))

    name = "adapter_model.safetensors"
    same = (straight.out / "adapter" / name).read_bytes() == (broken.out / "adapter" / name).read_bytes()
    print(f"the same bytes: {same}")
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/resume"))
