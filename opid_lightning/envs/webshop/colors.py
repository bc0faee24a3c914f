"""Colours that the reward takes for one another's shades, in the original's order."""

from __future__ import annotations

from collections.abc import Collection

# Facts of the benchmark: which words count, and that the first one found wins, so that navy blue
# is blue, and covered is red.
_NAMES = """
alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown
burgundy camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac
copper coral cranberry cream crystal dark denim eggplant elephant espresso fuchsia gold granite
grape graphite grass gray green grey heather indigo ivory ivy khaki lavender lemon leopard light
lilac lime magenta maroon mauve merlot midnight mint mocha multicolor mushroom mustard natural
navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand sapphire
seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise violet
walnut wheat white wine yellow
"""
COLORS = tuple(_NAMES.split())


def color_in(value: str | Collection[str]) -> str | None:
    """The first colour inside a text, or among texts; None where there is none."""
    return next((color for color in COLORS if color in value), None)
