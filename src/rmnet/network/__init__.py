"""The network: modules without state over time, files or devices."""
