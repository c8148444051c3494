"""Comparisons with the models' own packages, each to be run in an environment that has the package.

The same generated weights in the published layout and the same image go through the package and through GliomaSeg; the
labels must be equal but where a probability is within 0.01 of its threshold. What a comparison found is in the model's
card. None of this runs in the test suite, which has none of these packages.
"""
