"""The same run on a dask.distributed cluster: what travels, what workers do, who gives out work.

`predicting` is the door, `connecting` finds a cluster, `scheduling` gives out the work, `working`
does it, and `messages` are the nouns that travel between the two: no pixel and no map does.
`gathering` makes a folder's manifest and report anew from what its slides recorded.
"""
