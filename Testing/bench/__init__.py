"""Benchmarks: ``python -m Testing.bench PART…`` prints tables for README and model cards. Nothing here is a test.

They need real data and weights, in the folder that GLIOMASEG_SHARED names (default ``../shared``).
"""
