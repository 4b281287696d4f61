# SPDX-License-Identifier: Apache-2.0
"""Readable, unique titles for simulated items: adjective + material + noun.

The noun tells the category, the material the taste it appeals to, and the
adjective the tier, so that a title's text carries what the item's behaviour
follows from ("Sturdy Oak Bench"). Where a combination is used up, a number is
added ("Sturdy Oak Bench 2"); beyond the vocabulary, categories, tiers and
materials repeat with a number of their own.
"""

from jaxtyping import Int
import numpy as np

_CATEGORIES = {
  "seating": ("Chair", "Stool", "Bench", "Armchair"),
  "lighting": ("Lamp", "Lantern", "Sconce", "Chandelier"),
  "tableware": ("Plate", "Bowl", "Platter", "Saucer"),
  "drinkware": ("Mug", "Tumbler", "Goblet", "Carafe"),
  "clocks": ("Clock", "Timer", "Alarm", "Hourglass"),
  "storage": ("Box", "Basket", "Crate", "Chest"),
  "desks": ("Desk", "Bureau", "Lectern", "Workbench"),
  "shelving": ("Shelf", "Bookcase", "Rack", "Cabinet"),
  "garden": ("Planter", "Trellis", "Trough", "Birdbath"),
  "kitchen": ("Ladle", "Spatula", "Whisk", "Rolling Pin"),
  "cookware": ("Pan", "Kettle", "Casserole", "Stockpot"),
  "bathroom": ("Soap Dish", "Towel Rail", "Washstand", "Bath Tray"),
  "music": ("Flute", "Drum", "Chime", "Ukulele"),
  "games": ("Chessboard", "Puzzle", "Domino Set", "Dice Tower"),
  "toys": ("Train", "Kite", "Spinning Top", "Rocking Horse"),
  "travel": ("Trunk", "Suitcase", "Flask", "Walking Stick"),
  "stationery": ("Pen", "Inkwell", "Letter Rack", "Paperweight"),
  "decoration": ("Vase", "Figurine", "Candlestick", "Mirror"),
  "jewellery": ("Bracelet", "Brooch", "Pendant", "Ring"),
  "pets": ("Kennel", "Food Dish", "Perch", "Scratching Post"),
}
_TIERS = (
  ("Plain", "Simple", "Basic", "Humble"),
  ("Sturdy", "Handy", "Solid", "Trusty"),
  ("Polished", "Smart", "Neat", "Graceful"),
  ("Elegant", "Ornate", "Refined", "Noble"),
  ("Royal", "Exquisite", "Sublime", "Majestic"),
)
_MATERIALS = ("Oak", "Copper", "Glass", "Marble", "Bamboo", "Silver")


def category_name(category: int) -> str:
  """The name of a category, numbered beyond the vocabulary."""
  lap, place = divmod(category, len(_CATEGORIES))
  name = tuple(_CATEGORIES)[place]
  return name if lap == 0 else f"{name} {lap + 1}"


def item_titles(
  category_V: Int[np.ndarray, "V"],
  tier_V: Int[np.ndarray, "V"],
  material_V: Int[np.ndarray, "V"],
) -> list[str]:
  """One unique title per item, from its category, tier and material number."""
  nouns = tuple(_CATEGORIES.values())
  used: dict[tuple[int, int, int], int] = {}
  titles = []
  kind_V3 = np.stack([category_V, tier_V, material_V], axis=1).tolist()
  for category, tier, material in kind_V3:
    key = (category, tier, material)
    count = used[key] = used.get(key, -1) + 1
    words = _TIERS[tier % len(_TIERS)]
    things = nouns[category % len(nouns)]
    count, adjective = divmod(count, len(words))
    # The noun moves on with the adjective, so that neighbours differ in both.
    count, shift = divmod(count, len(things))
    noun = things[(adjective + shift) % len(things)]
    parts = [
      _numbered(words[adjective], tier // len(_TIERS)),
      _numbered(
        _MATERIALS[material % len(_MATERIALS)], material // len(_MATERIALS)
      ),
      _numbered(noun, category // len(nouns)),
    ]
    titles.append(_numbered(" ".join(parts), count, " No."))
  return titles


def _numbered(word: str, lap: int, prefix: str = "") -> str:
  return word if lap == 0 else f"{word}{prefix} {lap + 1}"
