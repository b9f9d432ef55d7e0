"""Files in and out: model cards, fetching, safetensors, GGUF, adapters, checkpoints."""
