"""The panel: decisions without Qt, one file per section; and the logic and the self-test of the module."""
