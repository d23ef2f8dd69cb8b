"""Helpers shared by the tests; importable without any conftest."""
