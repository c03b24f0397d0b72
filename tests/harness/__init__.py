"""Starts the real binary, speaks HTTP to it, and knows nothing of its insides.

`server` starts, kills and restarts it; `postgres` gives it databases; `client` is a small client of
our own with every byte under control (real SDKs are in `tests/clients`); `wire` is HTTP itself.
"""
