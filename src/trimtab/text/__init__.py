"""Chat format, sampling and generation."""
