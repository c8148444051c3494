"""Makers of small inputs and stand-ins that several tests share."""
