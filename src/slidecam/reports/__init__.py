"""Pages and pictures for people, from plain data: no model is loaded, no slide is opened.

Every file appears whole or not at all.
"""
