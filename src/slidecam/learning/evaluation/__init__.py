"""How good a classifier is on labelled pictures, and the report that says so."""
