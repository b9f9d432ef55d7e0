"""Networks behind one causal language model interface."""
