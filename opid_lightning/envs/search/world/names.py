"""What things of the invented world are called: words that recombine, each in one kind alone."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    "Ada Alma Anton Basil Bella Boris Cora Conrad Daphne Dora Edgar Edith Elsa Emil Felix Flora "
    "Freda Georg Gilda Greta Hans Hedda Hugo Ida Igor Ines Jonas Judith Julius Karl Klara Lars "
    "Lena Leo Lotte Magnus Marta Maud Nora Oskar Otto Paula Petra Ralf Rosa Ruth Selma Sven "
    "Thea Tilda Ulla Vera Viktor Walter Wilma"
)
LAST_NAMES = _words(
    "Abel Amsel Bauer Becker Berg Bloom Brandt Busch Carver Chandler Cooper Decker Dorn Draper "
    "Ebers Engel Faber Falk Farmer Fischer Fletcher Forster Frost Gardner Geller Glover Graf "
    "Haas Hahn Harper Heller Hooper Hunter Jansen Kant Keller Kessler Kramer Lang Lehmann Linden "
    "Loman Mahler Marder Mason Merz Nagel Neumann Olsen Palmer Parker Pohl Porter Quist Reiner "
    "Ritter Roth Sander Sattler Schober Seiler Skinner Stark Tanner Thorn Tyler Ulrich Vogel "
    "Wagner Weaver Weber Wieland Winter Wolf Zander Ziegler"
)
TREES = _words(
    "Alder Apple Ash Beech Birch Bramble Briar Cedar Cherry Chestnut Clover Elder Elm Fern Fir "
    "Hawthorn Hazel Heather Hemlock Holly Ivy Juniper Larch Laurel Lilac Maple Moss Myrtle Oak "
    "Olive Pear Pine Plum Poplar Reed Rowan Sorrel Spruce Sycamore Thistle Walnut Willow Yew"
)
PLACES = _words("Bank Cross Ferry Field Ford Gate Hollow Market Mill Wells")
RIVERS = _words(
    "Abra Arno Belda Calder Dene Esk Garra Ilm Irwell Kava Lune Mersa Nidd Orla Pinna Rhea Sava "
    "Tamar Una Wend"
)
SIDES = _words("Black Lower Upper White")
SEAS = _words("Amber Coral Northern Silent Southern Stormy")
RANGES = _words("Bare Broken Copper Eagle Iron Misty Snowy Wolfback")
REGIONS = _words(
    "Arvenia Borland Corvia Dalmora Estria Fenland Galdor Hestia Istria Jovia Kestonia Lorra"
)
BEASTS = _words(
    "Badger Bear Beaver Bison Falcon Fox Goose Hare Heron Kestrel Lark Lynx Magpie Marten Mole "
    "Otter Owl Panther Pelican Raven Robin Salmon Seal Squirrel Stag Swan Tiger Toad Turtle Wren"
)
TRADINGS = _words("Brothers Company House Mills Union Works")
PRODUCTS = _words(
    "barrels bells bicycles biscuits boots buttons candles carpets cheese clocks cloth gloves "
    "hats honey ink kettles knives lamps mirrors needles paint pianos pottery ropes sails salt "
    "scissors soap toys violins"
)
TRADES = _words(
    "architect baker barber blacksmith botanist butcher captain carpenter composer doctor farmer "
    "gardener geologist jeweller judge lawyer librarian nurse painter pilot poet printer sculptor "
    "singer surgeon tailor teacher weaver"
)
MOODS = _words(
    "Burning Distant Empty Endless Fading Faithful Forgotten Frozen Gentle Golden Hidden "
    "Hungry Last Lonely Lost Patient Quiet Restless Scarlet Secret Silver Sleeping Slow Stolen "
    "Velvet Weary"
)
THINGS = _words(
    "Anchor Arrow Bridge Candle Castle Circle Comet Crown Door Dream Garden Harvest Island Key "
    "Lantern Letter Map Morning Orchard Promise Road Shadow Ship Song Staircase Summer Train "
    "Window"
)
SAINTS = _words(
    "Agnes Alban Barbara Blaise Bridget Clement Crispin Denis Eustace Gallus Gertrude Giles "
    "Helena Hilda Leonard Lucia Martin Maurus Nicholas Olaf Pancras Quentin Sebastian Ursula"
)
BUILDINGS = _words("Abbey Chapel Hospital Library Museum Palace School Theatre Tower")
YEARS = tuple(range(1801, 1901))
