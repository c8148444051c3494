"""The panel's parts: what it decides (without Qt), what it asks to be installed, and one file per section."""
