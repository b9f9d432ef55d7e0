"""Errors, progress events, jobs, devices and seeds: what every other room stands on."""
