"""Recipes: short TOML files that say everything about a training but where its pictures lie."""
