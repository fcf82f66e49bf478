"""Pages for people: one style, each file complete in itself, to be mailed and printed."""

from slidecam.pages.page import picture_uri, write_page

__all__ = ["picture_uri", "write_page"]
