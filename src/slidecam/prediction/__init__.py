"""One job in one room: slides in, events out, every slide's outputs in a folder of its own.

`model` and `preparation` make the classifier and one slide ready,
`pipeline` runs, `outputs` and its neighbours write what people open, `slidecam.events` is what a
run says while it goes.
"""
