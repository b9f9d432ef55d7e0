"""What steers a frozen network: freezing, 4-bit linear layers, low-rank adapters."""
