"""Drag in a browser: sessions that survive it, live pictures over one socket."""
