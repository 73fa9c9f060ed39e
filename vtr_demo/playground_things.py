"""The things that act in the playground: sprites of Microsoft's Fluent 3D emoji, with plain names.

Data only. Code points and names follow the Unicode emoji list; synonyms and sizes are our own.
"""

from __future__ import annotations

from dataclasses import dataclass

from vtr_demo.playground_goods import GOODS
from vtr_demo.playground_people import PEOPLE
from vtr_demo.playground_wide import _WIDE

_THINGS = """
dog | 1f415 | animal | - | 1 | dog, brown dog
cat | 1f408 | animal | - | .95 | cat, orange cat
rabbit | 1f407 | animal | - | .85 | rabbit, bunny
horse | 1f40e | animal | - | 1.1 | horse, brown horse
pig | 1f416 | animal | - | 1 | pig, pink pig
cow | 1f404 | animal | - | 1.1 | cow, spotted cow
tiger | 1f405 | animal | - | 1.1 | tiger, striped tiger
elephant | 1f418 | animal | - | 1.15 | elephant, grey elephant
giraffe | 1f992 | animal | - | 1.15 | giraffe, tall giraffe
zebra | 1f993 | animal | - | 1.05 | zebra, striped zebra
kangaroo | 1f998 | animal | - | 1.05 | kangaroo, brown kangaroo
penguin | 1f427 | bird | 0 | .95 | penguin, little penguin
duck | 1f986 | bird | - | .95 | duck, green-headed duck
rooster | 1f413 | bird | - | .95 | rooster, cockerel
owl | 1f989 | bird | 0 | .9 | owl, brown owl
eagle | 1f985 | bird | - | 1 | eagle, bird of prey
parrot | 1f99c | bird | - | .95 | parrot, colourful parrot
flamingo | 1f9a9 | bird | - | 1.05 | flamingo, pink flamingo
swan | 1f9a2 | bird | - | 1 | swan, white swan
bird | 1f426 | bird | - | .85 | bird, red bird
butterfly | 1f98b | insect | 0 | .75 | butterfly, orange butterfly
bee | 1f41d | insect | - | .75 | bee, honeybee
crab | 1f980 | sea | 0 | .9 | crab, red crab
lobster | 1f99e | sea | 0 | .95 | lobster, red lobster
fish | 1f41f | sea | - | .85 | fish, blue fish
shark | 1f988 | sea | - | 1.15 | shark, grey shark
dolphin | 1f42c | sea | - | 1.1 | dolphin, blue dolphin
whale | 1f40b | sea | - | 1.15 | whale, blue whale
octopus | 1f419 | sea | 0 | 1 | octopus, orange octopus
jellyfish | 1fabc | sea | 0 | .95 | jellyfish, blue jellyfish
turtle | 1f422 | sea | - | 1 | turtle, green turtle
frog | 1f438 | animal | 0 | .85 | frog, green frog
snail | 1f40c | animal | - | .85 | snail, brown snail
snake | 1f40d | animal | + | .95 | snake, green snake
dinosaur | 1f996 | animal | - | 1.15 | dinosaur, green dinosaur
monkey | 1f412 | animal | 0 | 1 | monkey, brown monkey
gorilla | 1f98d | animal | - | 1.1 | gorilla, big gorilla
hedgehog | 1f994 | animal | - | .85 | hedgehog, little hedgehog
mouse | 1f401 | animal | - | .8 | mouse, grey mouse
camel | 1f42a | animal | - | 1.1 | camel, brown camel
llama | 1f999 | animal | - | 1.05 | llama, white llama
goat | 1f410 | animal | - | 1 | goat, brown goat
sheep | 1f411 | animal | - | 1 | sheep, woolly sheep
deer | 1f98c | animal | - | 1.1 | deer, stag
panda | 1f43c | animal | 0 | .95 | panda, panda bear
fox | 1f98a | animal | 0 | .95 | fox, red fox
lion | 1f981 | animal | 0 | 1.05 | lion, golden lion
bear | 1f43b | animal | 0 | 1 | bear, brown bear
seal | 1f9ad | sea | - | 1 | seal, grey seal
rhino | 1f98f | animal | - | 1.1 | rhino, rhinoceros
hippo | 1f99b | animal | - | 1.1 | hippo, hippopotamus
chick | 1f424 | bird | - | .8 | chick, yellow chick
squirrel | 1f43f-fe0f | animal | - | .9 | squirrel, chipmunk
car | 1f697 | vehicle | - | 1.1 | car, red car
taxi | 1f695 | vehicle | - | 1.1 | taxi, yellow cab
bus | 1f68c | vehicle | - | 1.15 | bus, orange bus
police car | 1f693 | vehicle | - | 1.1 | police car, patrol car
ambulance | 1f691 | vehicle | - | 1.1 | ambulance, white ambulance
fire truck | 1f692 | vehicle | - | 1.15 | fire truck, fire engine
racing car | 1f3ce-fe0f | vehicle | - | 1.1 | racing car, race car
tractor | 1f69c | vehicle | - | 1.1 | tractor, green tractor
truck | 1f69a | vehicle | - | 1.15 | truck, delivery truck
bicycle | 1f6b2 | vehicle | - | 1.05 | bicycle, bike
motorcycle | 1f3cd-fe0f | vehicle | - | 1.05 | motorcycle, red motorbike
scooter | 1f6f5 | vehicle | - | 1 | motor scooter, red scooter
helicopter | 1f681 | craft | - | 1.1 | helicopter, orange helicopter
airplane | 2708-fe0f | craft | + | 1.05 | airplane, plane
rocket | 1f680 | craft | + | 1 | rocket, spaceship
flying saucer | 1f6f8 | craft | 0 | 1 | flying saucer, UFO
locomotive | 1f682 | vehicle | - | 1.1 | steam engine, steam train
sled | 1f6f7 | vehicle | - | 1 | sled, wooden sledge
balloon | 1f388 | craft | 0 | .9 | balloon, red balloon
kite | 1fa81 | craft | 0 | .95 | kite, colourful kite
soccer ball | 26bd | ball | 0 | .75 | soccer ball, football
basketball | 1f3c0 | ball | 0 | .75 | basketball, orange basketball
baseball | 26be | ball | 0 | .7 | baseball, white baseball
volleyball | 1f3d0 | ball | 0 | .75 | volleyball, white volleyball
globe | 1f30d | ball | 0 | .85 | globe, round globe
wheel | 1f6de | ball | 0 | .8 | wheel, wooden wheel
pizza | 1f355 | food | 0 | .85 | slice of pizza, pizza slice
hamburger | 1f354 | food | 0 | .85 | hamburger, burger
apple | 1f34e | food | 0 | .75 | apple, red apple
banana | 1f34c | food | 0 | .8 | banana, yellow banana
pear | 1f350 | food | 0 | .8 | pear, green pear
pineapple | 1f34d | food | 0 | .9 | pineapple, ripe pineapple
strawberry | 1f353 | food | 0 | .75 | strawberry, red strawberry
watermelon | 1f349 | food | 0 | .8 | slice of watermelon, watermelon slice
orange | 1f34a | food | 0 | .75 | orange, tangerine
lemon | 1f34b | food | 0 | .75 | lemon, yellow lemon
carrot | 1f955 | food | 0 | .85 | carrot, orange carrot
mushroom | 1f344 | food | 0 | .8 | mushroom, red mushroom
cupcake | 1f9c1 | food | 0 | .8 | cupcake, pink cupcake
doughnut | 1f369 | food | 0 | .8 | doughnut, donut
cookie | 1f36a | food | 0 | .75 | cookie, biscuit
cake | 1f382 | food | 0 | .95 | birthday cake, cake with candles
ice cream | 1f366 | food | 0 | .85 | ice cream, ice cream cone
bread | 1f35e | food | 0 | .85 | loaf of bread, bread loaf
cheese | 1f9c0 | food | 0 | .8 | piece of cheese, wedge of cheese
egg | 1f95a | food | 0 | .7 | egg, brown egg
dancer | 1f483 | person | 0 | 1.1 | dancer, woman in a red dress
surfer | 1f3c4 | person | - | 1.1 | surfer, person on a surfboard
cyclist | 1f6b4 | person | - | 1.1 | cyclist, person on a bike
skier | 26f7-fe0f | person | - | 1.1 | skier, person on skis
fairy | 1f9da-200d-2640-fe0f | person | 0 | 1 | fairy, winged fairy
mermaid | 1f9dc-200d-2640-fe0f | person | 0 | 1.05 | mermaid, mermaid with a green tail
runner | 1f3c3 | person | - | 1.1 | runner, jogger
astronaut | 1f9d1-200d-1f680 | person | 0 | 1 | astronaut, person in a space suit
robot | 1f916 | person | 0 | .95 | robot, friendly robot
ghost | 1f47b | person | 0 | .95 | ghost, white ghost
snowman | 26c4 | person | 0 | 1 | snowman, snowman with a scarf
teddy bear | 1f9f8 | toy | 0 | .95 | teddy bear, stuffed bear
guitar | 1f3b8 | music | 0 | 1 | guitar, electric guitar
violin | 1f3bb | music | 0 | .95 | violin, fiddle
trumpet | 1f3ba | music | 0 | .95 | trumpet, golden trumpet
saxophone | 1f3b7 | music | 0 | 1 | saxophone, golden saxophone
drum | 1f941 | music | 0 | .9 | drum, snare drum
accordion | 1fa97 | music | 0 | .95 | accordion, red accordion
bell | 1f514 | music | 0 | .85 | bell, golden bell
umbrella | 2602-fe0f | object | 0 | 1 | umbrella, purple umbrella
box | 1f4e6 | object | 0 | .95 | box, cardboard box
gift | 1f381 | object | 0 | .85 | gift, wrapped present
basket | 1f9fa | object | 0 | 1 | basket, wicker basket
bucket | 1faa3 | object | 0 | .9 | bucket, blue bucket
bathtub | 1f6c1 | object | 0 | 1.1 | bathtub, bath
chair | 1fa91 | object | 0 | 1 | chair, wooden chair
top hat | 1f3a9 | object | 0 | .85 | top hat, black hat
crown | 1f451 | object | 0 | .8 | crown, golden crown
clock | 23f0 | object | 0 | .85 | alarm clock, clock
camera | 1f4f7 | object | 0 | .85 | camera, photo camera
light bulb | 1f4a1 | object | 0 | .85 | light bulb, bulb
key | 1f511 | object | 0 | .8 | key, golden key
diamond | 1f48e | object | 0 | .75 | diamond, blue gem
trophy | 1f3c6 | object | 0 | .9 | trophy, golden cup
star | 2b50 | object | 0 | .85 | star, yellow star
heart | 2764-fe0f | object | 0 | .75 | heart, red heart
sunflower | 1f33b | plant | 0 | 1 | sunflower, yellow flower
rose | 1f339 | plant | 0 | .95 | rose, red rose
backpack | 1f392 | object | 0 | .9 | backpack, red rucksack
pumpkin | 1f383 | object | 0 | .9 | pumpkin, carved pumpkin
teapot | 1fad6 | object | 0 | .85 | teapot, red teapot
dice | 1f3b2 | object | 0 | .7 | white die, game die
clapper | 1f3ac | object | 0 | .85 | clapper board, film clapper
shell | 1f41a | sea | 0 | .75 | shell, seashell
"""
"""name | code point | kind | which way the picture looks (- left, + right, 0 neither) | size | nouns"""


@dataclass(frozen=True)
class Thing:
    """One sprite: its file name without ending, its nouns (the first is the plainest) and its size."""

    code: str
    kind: str
    facing: int
    size: float
    nouns: tuple[str, ...]


def _read(lines: str) -> dict[str, Thing]:
    table = {}
    for line in filter(None, lines.splitlines()):
        name, code, kind, facing, size, nouns = (part.strip() for part in line.split("|"))
        way = {"-": -1, "+": 1, "0": 0}[facing]
        table[name] = Thing(code, kind, way, float(size), tuple(noun.strip() for noun in nouns.split(",")))
    return table


WIDE = _read(_WIDE + PEOPLE + GOODS)
"""Things that only training draws: what is learnt from many carries over to things never shown."""

THINGS = _read(_THINGS) | WIDE

RESERVED = frozenset(
    {"zebra", "flamingo", "taxi", "motorcycle", "banana", "violin", "snail", "baseball", "trophy"}
    | {"teapot", "hedgehog", "tractor", "strawberry", "ghost", "goat", "lobster", "clock", "rose"}
)
"""Things that only the split ``unseen_sprites`` draws."""

CONTAINERS = {"basket": 0.45, "bucket": 0.2, "bathtub": 0.55}
"""What a thing can be inside of, and where its rim is (share of its height from the top)."""
