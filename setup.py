"""What pyproject.toml cannot say. The native op's build (csrc/) will live here."""

from setuptools import setup

setup()
