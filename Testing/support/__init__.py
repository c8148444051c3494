"""Small inputs, simulated devices and helpers that several tests share."""
