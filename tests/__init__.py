"""Tests of pytest-ablation, a file a module."""
