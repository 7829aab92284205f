"""What runs in processes of its own: reading uploaded models, and building their tables.

The C++ below onnx may crash, loop or take all memory on a hostile file, and Python's share of the
work would hold up every request of the service. So each upload is read by a fresh process with
limits (``confinement``), forked by one that has imported everything already (``zygote``).
``app.services.workers`` is the side of the service; ``frames`` is what the two say to each other.
"""
