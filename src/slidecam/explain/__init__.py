"""Explanations of a classifier's logits: `catalogue` has every method by name.

Nothing is imported here, so that the catalogue can be read without torch.
"""
