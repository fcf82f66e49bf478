"""What becomes of a slide's results.

``run.json`` before and after its batches, and all that people open.
"""

from slidecam.completion.finishing import begin_slide, fail_slide, finish_slide
from slidecam.completion.timings import Timings

__all__ = ["Timings", "begin_slide", "fail_slide", "finish_slide"]
