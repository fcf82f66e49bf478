"""The napari door: slides, runs and explanations as layers, and the dock "Predict & explain".

Qt, napari and magicgui are imported here and nowhere else. What makes layers and follows a run
knows no Qt: it is tested on `ViewerModel`, without a screen.
"""

from slidecam.plugin.compat import keep_triton_out

# Before anything of the plugin imports torch.
keep_triton_out()
