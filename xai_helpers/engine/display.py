"""How an attribution draws itself; the front door fills this in.

Figures belong to the course tools, two storeys up, and nothing imports upwards. So
``xai_helpers/__init__.py`` puts the drawing function in here.
"""

draw = None  # Attribution → an object with ``_repr_mimebundle_``
