"""Training and measuring on a graphics card that is lent for minutes: what is needed travels in packs and comes back in
parts. ``python -m Testing.gpu`` says how.

On the machine with the card training needs NumPy and torch alone; measuring needs what the library's inference needs,
and names what is missing.
"""
