// What is on the screen: the slide that was chosen last, the run that is laid over it, and its layers.

export const shown = { slide: null, job: null, classes: null, heat: null, heatmaps: [] };
