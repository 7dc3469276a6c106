"""The classes of the synthetic scenes and the colours of what is painted."""

from __future__ import annotations

from seg_jax.data.scenes.drawing import Palette

NAMES: tuple[str, ...] = ("sky", "building", "road", "pavement", "tree", "car", "pole and sign", "person")
COLORS: tuple[tuple[int, int, int], ...] = (
    *((70, 130, 180), (70, 70, 70), (128, 64, 128), (244, 35, 232)),
    *((107, 142, 35), (0, 0, 142), (220, 220, 0), (220, 20, 60)),
)
SKY, BUILDING, ROAD, PAVEMENT, TREE, CAR, POLE, PERSON = range(8)

# Every palette shares tones with other classes on purpose (grey houses, roads, poles and cars; red bricks, coats and
# signs; green leaves, cars and coats): the colour of a pixel alone must not give its class away.
WALLS: Palette = ((168, 158, 146), (196, 178, 146), (150, 84, 66), (122, 96, 80), (128, 132, 138))
WALLS += ((206, 200, 190), (104, 116, 132), (178, 132, 104), (160, 172, 160), (214, 188, 150))
ASPHALT: Palette = ((92, 92, 96), (116, 112, 108), (74, 76, 84))
LEAVES: Palette = ((58, 104, 42), (84, 122, 48), (44, 84, 50), (112, 130, 52), (176, 118, 44), (134, 92, 50))
BARK: Palette = ((92, 72, 54), (110, 100, 90), (70, 58, 50))
PAINTS: Palette = ((196, 198, 202), (40, 42, 46), (158, 30, 34), (36, 66, 128), (112, 118, 124))
PAINTS += ((228, 226, 220), (44, 92, 66), (206, 166, 52), (96, 60, 48))
METALS: Palette = ((120, 124, 128), (70, 74, 78), (52, 66, 60), (150, 150, 146))
PLATES: Palette = ((214, 178, 20), (30, 80, 170), (190, 30, 34), (232, 232, 226), (30, 112, 70))
INSETS: Palette = ((236, 236, 230), (30, 60, 140), (34, 34, 36))
SIGNALS: Palette = ((240, 50, 40), (246, 190, 50), (60, 220, 120))
COATS: Palette = ((178, 40, 44), (40, 60, 120), (36, 38, 44), (222, 218, 210), (64, 112, 78))
COATS += ((200, 150, 50), (120, 72, 120), (96, 100, 108), (60, 128, 160), (214, 112, 60))
TROUSERS: Palette = ((40, 46, 70), (34, 34, 38), (92, 84, 72))
SKINS: Palette = ((232, 190, 160), (206, 156, 120), (150, 104, 76), (98, 66, 48))
HAIRS: Palette = ((30, 24, 20), (96, 66, 40), (170, 150, 120))
GLASSES: Palette = ((46, 58, 72), (70, 84, 100), (96, 112, 128))
GLASS, TYRE, WHITE, LAMPLIGHT = (46, 58, 72), (24, 24, 26), (236, 236, 228), (248, 206, 130)
HEADLIGHT, TAILLIGHT = (250, 246, 220), (196, 26, 28)
