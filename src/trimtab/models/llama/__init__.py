"""A lean decoder for the Llama family: Llama, SmolLM2, Mistral, Qwen 2 and 3."""
