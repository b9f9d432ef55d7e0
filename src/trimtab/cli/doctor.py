"""``trimtab doctor``: what this machine has, and which kernels run on it."""

from __future__ import annotations

from trimtab.cli.console import AsJson, Debug, Output, Quiet, show
from trimtab.core.job import Job, Result, Table
from trimtab.core.words import human_bytes


def doctor(as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Show versions, memory, devices, kernels and the model store."""
    show(_examine(), Output(as_json, quiet))


def _examine() -> Job:
    import platform
    import shutil
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from trimtab import __version__
    from trimtab.core.device import home
    from trimtab.core.memory import available_bytes
    from trimtab.kernels import ops

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "not installed"

    store = home()
    existing = next(folder for folder in (store, *store.parents) if folder.exists())
    facts = {
        "trimtab": __version__,
        "python": platform.python_version(),
        **{name: installed(name) for name in ("torch", "transformers", "safetensors", "tokenizers")},
        "extras": ", ".join(f"{n} {installed(n)}" for n in ("datasets", "tensorboard", "bitsandbytes", "peft", "gguf")),
        "processor": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "memory available": human_bytes(available_bytes()),
        "GPU": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
        "kernels on the CPU": ops.implementation("cpu", "auto"),
        "model store": f"{store} ({human_bytes(shutil.disk_usage(existing).free)} free)",
    }
    yield Table("trimtab doctor", ["what", "found"], [[key, value] for key, value in facts.items()])
    if facts["kernels on the CPU"] == "reference":
        from trimtab.core.job import Note

        yield Note("the compiled kernels are absent. Install gcc, then install trimtab again.", "warning")
    yield Result(facts)
