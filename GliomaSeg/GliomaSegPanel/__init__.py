"""The panel: one file per section, decisions without Qt, the module's logic and its self-test."""
