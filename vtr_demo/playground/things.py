"""The things that act in the playground: sprites of Microsoft's Fluent 3D emoji, with plain names.

Data only. Code points and names follow the Unicode emoji list; synonyms and sizes are our own.
"""

from __future__ import annotations

from dataclasses import dataclass

# --------------------------------------------------------------------------- more things for training: w
_WIDE = """
ant | 1f41c | insect | - | .75 | ant, red ant
badger | 1f9a1 | animal | - | 1 | badger, striped badger
bat | 1f987 | bird | 0 | .9 | bat, black bat
beaver | 1f9ab | animal | - | .95 | beaver, brown beaver
beetle | 1fab2 | insect | 0 | .75 | beetle, green beetle
bison | 1f9ac | animal | - | 1.1 | bison, hairy bison
pufferfish | 1f421 | sea | - | .85 | pufferfish, blowfish
boar | 1f417 | animal | - | 1 | wild boar, hairy boar
caterpillar | 1f41b | insect | - | .8 | caterpillar, green caterpillar
hen | 1f414 | bird | 0 | .9 | hen, white hen
cockroach | 1fab3 | insect | 0 | .75 | cockroach, brown cockroach
grasshopper | 1f997 | insect | - | .8 | grasshopper, green grasshopper
crocodile | 1f40a | animal | - | 1.1 | crocodile, alligator
dodo | 1f9a4 | bird | - | 1 | dodo, grey dodo
donkey | 1facf | animal | - | 1.05 | donkey, grey donkey
dove | 1f54a-fe0f | bird | - | .9 | dove, white dove
dragon | 1f409 | animal | - | 1.1 | dragon, green dragon
goose | 1fabf | bird | - | 1 | goose, white goose
hamster | 1f439 | animal | 0 | .8 | hamster, little hamster
koala | 1f428 | animal | 0 | .9 | koala, grey koala
ladybird | 1f41e | insect | 0 | .75 | ladybird, ladybug
leopard | 1f406 | animal | - | 1.1 | leopard, spotted leopard
lizard | 1f98e | animal | 0 | .85 | lizard, green lizard
mammoth | 1f9a3 | animal | - | 1.15 | mammoth, woolly mammoth
moose | 1face | animal | 0 | 1.1 | moose, elk
mosquito | 1f99f | insect | - | .75 | mosquito, gnat
orangutan | 1f9a7 | animal | 0 | 1.05 | orangutan, hairy ape
otter | 1f9a6 | animal | - | .95 | otter, brown otter
ox | 1f402 | animal | - | 1.1 | ox, bull
peacock | 1f99a | bird | - | 1.05 | peacock, blue peacock
polar bear | 1f43b-200d-2744-fe0f | animal | 0 | 1 | polar bear, ice bear
poodle | 1f429 | animal | - | .95 | poodle, curly poodle
raccoon | 1f99d | animal | 0 | .9 | raccoon, masked raccoon
ram | 1f40f | animal | - | 1.05 | ram, horned ram
brontosaurus | 1f995 | animal | - | 1.15 | brontosaurus, long-necked sauropod
scorpion | 1f982 | insect | 0 | .85 | scorpion, black scorpion
shrimp | 1f990 | sea | - | .8 | shrimp, prawn
skunk | 1f9a8 | animal | - | .9 | skunk, black and white skunk
sloth | 1f9a5 | animal | 0 | .95 | sloth, brown sloth
spider | 1f577-fe0f | insect | 0 | .8 | spider, black spider
squid | 1f991 | sea | 0 | .95 | squid, pink squid
turkey | 1f983 | bird | 0 | 1 | turkey, big turkey
unicorn | 1f984 | animal | - | 1 | unicorn, white unicorn
buffalo | 1f403 | animal | - | 1.1 | buffalo, water buffalo
wolf | 1f43a | animal | 0 | 1 | wolf, grey wolf
worm | 1fab1 | insect | 0 | .75 | worm, earthworm
housefly | 1fab0 | insect | 0 | .7 | housefly, little fly
coral | 1fab8 | sea | 0 | .9 | coral, pink coral
lorry | 1f69b | vehicle | - | 1.15 | lorry, long lorry
rickshaw | 1f6fa | vehicle | - | 1.05 | rickshaw, auto rickshaw
bullet train | 1f685 | vehicle | 0 | 1.1 | bullet train, fast train
canoe | 1f6f6 | vehicle | 0 | 1.05 | canoe, wooden canoe
kick scooter | 1f6f4 | vehicle | - | .95 | kick scooter, push scooter
jeep | 1f699 | vehicle | - | 1.1 | jeep, blue jeep
pickup | 1f6fb | vehicle | - | 1.1 | pickup truck, pickup
van | 1f690 | vehicle | - | 1.1 | van, minivan
motor boat | 1f6e5-fe0f | vehicle | - | 1.1 | motor boat, motorboat
sailing boat | 26f5 | vehicle | 0 | 1.05 | sailing boat, sailboat
ship | 1f6a2 | vehicle | 0 | 1.1 | ship, big ship
speedboat | 1f6a4 | vehicle | 0 | 1.1 | speedboat, fast boat
tram | 1f68a | vehicle | 0 | 1.1 | tram, streetcar
shopping cart | 1f6d2 | vehicle | + | 1 | shopping cart, shopping trolley
skateboard | 1f6f9 | vehicle | 0 | .9 | skateboard, colourful skateboard
roller skate | 1f6fc | vehicle | 0 | .9 | roller skate, blue roller skate
satellite | 1f6f0-fe0f | craft | 0 | 1 | satellite, space satellite
parachute | 1fa82 | craft | 0 | 1 | parachute, striped parachute
abacus | 1f9ee | object | 0 | .9 | abacus, counting frame
anchor | 2693 | object | 0 | .95 | anchor, iron anchor
axe | 1fa93 | object | 0 | .9 | axe, hatchet
baby bottle | 1f37c | object | 0 | .8 | baby bottle, bottle of baby milk
banjo | 1fa95 | music | 0 | 1 | banjo, round banjo
bed | 1f6cf-fe0f | object | 0 | 1.1 | bed, wooden bed
beer | 1f37a | food | 0 | .85 | mug of beer, beer mug
cap | 1f9e2 | object | 0 | .8 | cap, blue cap
bomb | 1f4a3 | object | 0 | .85 | bomb, black bomb
bone | 1f9b4 | object | 0 | .8 | bone, white bone
book | 1f4d5 | object | 0 | .85 | closed book, red book
books | 1f4da | object | 0 | .9 | pile of books, stack of books
boomerang | 1fa83 | object | 0 | .8 | boomerang, wooden boomerang
bouquet | 1f490 | plant | 0 | .95 | bouquet, bunch of flowers
boxing glove | 1f94a | object | 0 | .85 | boxing glove, red boxing glove
brick | 1f9f1 | object | 0 | .8 | brick, red brick
briefcase | 1f4bc | object | 0 | .9 | briefcase, brown briefcase
broom | 1f9f9 | object | 0 | .95 | broom, broomstick
calendar | 1f4c5 | object | 0 | .85 | calendar, wall calendar
candle | 1f56f-fe0f | object | 0 | .85 | candle, burning candle
candy | 1f36c | food | 0 | .75 | piece of candy, wrapped sweet
merry-go-round horse | 1f3a0 | toy | - | 1 | merry-go-round horse, carousel horse
chess pawn | 265f-fe0f | toy | 0 | .8 | chess pawn, black pawn
coat | 1f9e5 | object | 0 | .95 | coat, brown coat
coin | 1fa99 | object | 0 | .7 | coin, golden coin
compass | 1f9ed | object | 0 | .8 | compass, magnetic compass
crayon | 1f58d-fe0f | object | 0 | .8 | crayon, wax crayon
crystal ball | 1f52e | ball | 0 | .85 | crystal ball, magic ball
dress | 1f457 | object | 0 | .95 | dress, blue dress
door | 1f6aa | object | 0 | 1.05 | door, wooden door
plug | 1f50c | object | 0 | .8 | electric plug, power plug
envelope | 2709-fe0f | object | 0 | .8 | envelope, white letter
feather | 1fab6 | object | 0 | .8 | feather, brown feather
fire extinguisher | 1f9ef | object | 0 | .9 | fire extinguisher, red extinguisher
fishing rod | 1f3a3 | object | 0 | .95 | fishing rod, fishing pole
torch | 1f526 | object | 0 | .8 | torch, flashlight
flute | 1fa88 | music | 0 | .9 | flute, wooden flute
frisbee | 1f94f | ball | 0 | .8 | frisbee, flying disc
gear | 2699-fe0f | object | 0 | .85 | gear, cogwheel
glasses | 1f453 | object | 0 | .8 | pair of glasses, spectacles
glove | 1f9e4 | object | 0 | .8 | pair of gloves, mittens
hammer | 1f528 | object | 0 | .85 | hammer, claw hammer
headphones | 1f3a7 | object | 0 | .85 | pair of headphones, headset
boot | 1f97e | object | 0 | .85 | hiking boot, brown boot
high heel | 1f460 | object | 0 | .85 | high-heeled shoe, red high heel
hourglass | 231b | object | 0 | .85 | hourglass, sand timer
ice skate | 26f8-fe0f | object | 0 | .85 | ice skate, white ice skate
jar | 1fad9 | object | 0 | .85 | jar, glass jar
jeans | 1f456 | object | 0 | .9 | pair of jeans, blue trousers
kimono | 1f458 | object | 0 | 1 | kimono, japanese robe
keyboard | 2328-fe0f | object | 0 | .9 | computer keyboard, keyboard
knife | 1f52a | object | 0 | .85 | kitchen knife, sharp knife
ladder | 1fa9c | object | 0 | 1.05 | ladder, tall ladder
lantern | 1f3ee | object | 0 | .9 | paper lantern, red lantern
laptop | 1f4bb | object | 0 | .9 | laptop, notebook computer
lipstick | 1f484 | object | 0 | .75 | lipstick, red lipstick
padlock | 1f512 | object | 0 | .8 | padlock, golden padlock
magic wand | 1fa84 | object | 0 | .85 | magic wand, black wand
magnet | 1f9f2 | object | 0 | .8 | magnet, horseshoe magnet
magnifying glass | 1f50d | object | 0 | .85 | magnifying glass, magnifier
maracas | 1fa87 | music | 0 | .9 | maracas, pair of maracas
medal | 1f3c5 | object | 0 | .85 | medal, gold medal
megaphone | 1f4e3 | object | 0 | .9 | megaphone, cheering megaphone
microphone | 1f3a4 | music | 0 | .85 | microphone, singer's microphone
microscope | 1f52c | object | 0 | .9 | microscope, laboratory microscope
mirror | 1fa9e | object | 0 | .95 | mirror, standing mirror
disco ball | 1faa9 | ball | 0 | .85 | disco ball, mirror ball
phone | 1f4f1 | object | 0 | .8 | smartphone, mobile phone
money bag | 1f4b0 | object | 0 | .85 | money bag, bag of money
nesting doll | 1fa86 | toy | 0 | .9 | nesting doll, russian doll
tie | 1f454 | object | 0 | .85 | necktie, blue tie
newspaper | 1f4f0 | object | 0 | .85 | newspaper, daily paper
palette | 1f3a8 | object | 0 | .85 | palette, painter's palette
paintbrush | 1f58c-fe0f | object | 0 | .8 | paintbrush, brush
pencil | 270f-fe0f | object | 0 | .8 | pencil, yellow pencil
pinata | 1fa85 | toy | - | 1 | pinata, colourful pinata
potted plant | 1fab4 | plant | 0 | .95 | potted plant, plant in a pot
printer | 1f5a8-fe0f | object | 0 | .95 | printer, grey printer
handbag | 1f45c | object | 0 | .9 | handbag, brown bag
puzzle piece | 1f9e9 | toy | 0 | .8 | puzzle piece, jigsaw piece
radio | 1f4fb | object | 0 | .9 | radio, old radio
ring | 1f48d | object | 0 | .75 | diamond ring, ring
rock | 1faa8 | object | 0 | .9 | rock, grey stone
trainer | 1f45f | object | 0 | .85 | running shoe, sneaker
saw | 1fa9a | object | 0 | .85 | saw, handsaw
scarf | 1f9e3 | object | 0 | .85 | scarf, red scarf
scissors | 2702-fe0f | object | 0 | .85 | pair of scissors, red scissors
screwdriver | 1fa9b | object | 0 | .8 | screwdriver, blue screwdriver
shield | 1f6e1-fe0f | object | 0 | .9 | shield, knight's shield
skull | 1f480 | object | 0 | .85 | skull, white skull
snowflake | 2744-fe0f | object | 0 | .8 | snowflake, blue snowflake
soap | 1f9fc | object | 0 | .75 | bar of soap, soap
socks | 1f9e6 | object | 0 | .85 | pair of socks, socks
sponge | 1f9fd | object | 0 | .75 | sponge, yellow sponge
spoon | 1f944 | object | 0 | .8 | spoon, silver spoon
stopwatch | 23f1-fe0f | object | 0 | .8 | stopwatch, timer
suitcase | 1f9f3 | object | 0 | .95 | suitcase, luggage
sunglasses | 1f576-fe0f | object | 0 | .8 | sunglasses, dark glasses
swords | 2694-fe0f | object | 0 | .95 | crossed swords, two swords
syringe | 1f489 | object | 0 | .8 | syringe, needle
shirt | 1f455 | object | 0 | .9 | shirt, t-shirt
telephone | 260e-fe0f | object | 0 | .9 | telephone, red telephone
telescope | 1f52d | object | 0 | .95 | telescope, long telescope
television | 1f4fa | object | 0 | .95 | television, old TV
tent | 26fa | object | 0 | 1.1 | tent, camping tent
thermometer | 1f321-fe0f | object | 0 | .85 | thermometer, glass thermometer
toilet | 1f6bd | object | 0 | .95 | toilet, white toilet
toolbox | 1f9f0 | object | 0 | .9 | toolbox, red toolbox
tooth | 1f9b7 | object | 0 | .75 | tooth, white tooth
toothbrush | 1faa5 | object | 0 | .8 | toothbrush, brush for teeth
video camera | 1f4f9 | object | 0 | .85 | video camera, camcorder
wastebasket | 1f5d1-fe0f | object | 0 | .95 | wastebasket, rubbish bin
watch | 231a | object | 0 | .8 | wristwatch, watch
wine | 1f377 | food | 0 | .85 | glass of wine, wine glass
wrench | 1f527 | object | 0 | .8 | wrench, spanner
yarn | 1f9f6 | ball | 0 | .8 | ball of yarn, ball of wool
yo-yo | 1fa80 | toy | 0 | .75 | yo-yo, red yo-yo
billiard ball | 1f3b1 | ball | 0 | .75 | billiard ball, pool ball
tennis ball | 1f3be | ball | 0 | .75 | tennis racket, tennis ball
american football | 1f3c8 | ball | 0 | .8 | american football, brown leather ball
table tennis bat | 1f3d3 | object | 0 | .85 | table tennis bat, ping-pong paddle
bowling pins | 1f3b3 | toy | 0 | .9 | bowling ball, bowling pins
avocado | 1f951 | food | 0 | .8 | avocado, half an avocado
bacon | 1f953 | food | 0 | .8 | bacon, strip of bacon
bagel | 1f96f | food | 0 | .8 | bagel, filled bagel
baguette | 1f956 | food | 0 | .85 | baguette, french bread
bell pepper | 1fad1 | food | 0 | .8 | bell pepper, green pepper
blueberries | 1fad0 | food | 0 | .75 | blueberries, bunch of blueberries
broccoli | 1f966 | food | 0 | .8 | broccoli, piece of broccoli
butter | 1f9c8 | food | 0 | .8 | butter, piece of butter
cherries | 1f352 | food | 0 | .75 | cherries, pair of cherries
chocolate | 1f36b | food | 0 | .8 | bar of chocolate, chocolate bar
coconut | 1f965 | food | 0 | .8 | coconut, half a coconut
corn | 1f33d | food | 0 | .85 | corn on the cob, ear of corn
croissant | 1f950 | food | 0 | .8 | croissant, french pastry
cucumber | 1f952 | food | 0 | .8 | cucumber, green cucumber
steak | 1f969 | food | 0 | .85 | steak, piece of raw meat
aubergine | 1f346 | food | 0 | .8 | aubergine, eggplant
chips | 1f35f | food | 0 | .85 | packet of chips, french fries
garlic | 1f9c4 | food | 0 | .75 | garlic, clove of garlic
grapes | 1f347 | food | 0 | .8 | bunch of grapes, purple grapes
honey | 1f36f | food | 0 | .85 | honey pot, jar of honey
hot dog | 1f32d | food | 0 | .85 | hot dog, sausage in a bun
ice cube | 1f9ca | food | 0 | .8 | ice cube, block of ice
kiwi | 1f95d | food | 0 | .75 | kiwi, kiwi fruit
lollipop | 1f36d | food | 0 | .8 | lollipop, round lollipop
mango | 1f96d | food | 0 | .8 | mango, ripe mango
melon | 1f348 | food | 0 | .8 | melon, green melon
milk | 1f95b | food | 0 | .8 | glass of milk, milk
onion | 1f9c5 | food | 0 | .75 | onion, brown onion
pancakes | 1f95e | food | 0 | .85 | pancakes, stack of pancakes
peach | 1f351 | food | 0 | .75 | peach, ripe peach
peanuts | 1f95c | food | 0 | .75 | peanut, peanuts
pie | 1f967 | food | 0 | .85 | pie, apple pie
popcorn | 1f37f | food | 0 | .85 | box of popcorn, popcorn
potato | 1f954 | food | 0 | .75 | potato, brown potato
pretzel | 1f968 | food | 0 | .8 | pretzel, salted pretzel
rice | 1f35a | food | 0 | .8 | bowl of rice, cooked rice
sandwich | 1f96a | food | 0 | .85 | sandwich, cheese sandwich
spaghetti | 1f35d | food | 0 | .85 | plate of spaghetti, pasta
sushi | 1f363 | food | 0 | .8 | sushi, piece of sushi
taco | 1f32e | food | 0 | .85 | taco, filled taco
tomato | 1f345 | food | 0 | .75 | tomato, red tomato
waffle | 1f9c7 | food | 0 | .8 | waffle, golden waffle
coffee | 2615 | food | 0 | .85 | cup of coffee, coffee cup
cocktail | 1f379 | food | 0 | .9 | cocktail, tropical drink
cherry blossom | 1f338 | plant | 0 | .8 | cherry blossom, pink blossom
tulip | 1f337 | plant | 0 | .95 | tulip, pink tulip
hibiscus | 1f33a | plant | 0 | .8 | hibiscus, hibiscus flower
maple leaf | 1f341 | plant | 0 | .8 | maple leaf, autumn leaf
clover | 1f340 | plant | 0 | .8 | four-leaf clover, lucky clover
wizard | 1f9d9 | person | 0 | 1.05 | wizard, magician
ninja | 1f977 | person | 0 | 1 | ninja, masked ninja
princess | 1f478 | person | 0 | 1 | princess, princess with a tiara
superhero | 1f9b8 | person | 0 | 1.05 | superhero, hero with a cape
zombie | 1f9df | person | 0 | 1.05 | zombie, green zombie
vampire | 1f9db | person | 0 | 1.05 | vampire, count in a black cape
santa | 1f385 | person | 0 | 1 | santa claus, man with a white beard
troll | 1f9cc | person | 0 | 1.05 | troll, ugly troll
alien | 1f47d | person | 0 | .9 | alien, green alien
"""
"""name | code point | kind | which way the picture looks (- left, + right, 0 neither) | size | nouns"""


# --------------------------------------------------------------------------- people and what they wear f
PEOPLE = """
boy | 1f466 | person | 0 | .9 | boy, little boy
girl | 1f467 | person | 0 | .9 | girl, little girl
man | 1f468 | person | 0 | 1 | man, young man
woman | 1f469 | person | 0 | 1 | woman, young woman
baby | 1f476 | person | 0 | .8 | baby, infant
grandfather | 1f474 | person | 0 | 1 | grandfather, old man
grandmother | 1f475 | person | 0 | 1 | grandmother, old woman
bearded man | 1f9d4 | person | 0 | 1 | bearded man, man with a brown beard
bald man | 1f468-200d-1f9b2 | person | 0 | 1 | bald man, man without hair
red-haired woman | 1f469-200d-1f9b0 | person | 0 | 1 | red-haired woman, woman with red hair
curly-haired woman | 1f469-200d-1f9b1 | person | 0 | 1 | curly-haired woman, woman with curly hair
blonde | 1f471-200d-2640-fe0f | person | 0 | 1 | blonde woman, woman with fair hair
farmer | 1f468-200d-1f33e | person | 0 | 1.05 | farmer, man in a straw hat
cook | 1f468-200d-1f373 | person | 0 | 1.05 | cook, chef
nurse | 1f469-200d-2695-fe0f | person | 0 | 1.05 | nurse, woman doctor
judge | 1f468-200d-2696-fe0f | person | 0 | 1.05 | judge, man in a black robe
pilot | 1f468-200d-2708-fe0f | person | 0 | 1.05 | pilot, airline captain
firefighter | 1f468-200d-1f692 | person | 0 | 1.05 | firefighter, fireman
policeman | 1f46e-200d-2642-fe0f | person | 0 | 1.05 | policeman, police officer
builder | 1f477 | person | 0 | 1.05 | builder, construction worker
guardsman | 1f482 | person | 0 | 1.05 | guardsman, royal guard
detective | 1f575-fe0f | person | 0 | 1.05 | detective, private detective
graduate | 1f469-200d-1f393 | person | 0 | 1.05 | graduate, student in a gown
singer | 1f469-200d-1f3a4 | person | 0 | 1.05 | singer, rock singer
painter | 1f468-200d-1f3a8 | person | 0 | 1.05 | painter, artist
teacher | 1f469-200d-1f3eb | person | 0 | 1.05 | teacher, woman at a blackboard
mechanic | 1f468-200d-1f527 | person | 0 | 1.05 | car mechanic, repairman
scientist | 1f469-200d-1f52c | person | 0 | 1.05 | scientist, chemist
welder | 1f468-200d-1f3ed | person | 0 | 1.05 | welder, factory worker
bride | 1f470-200d-2640-fe0f | person | 0 | 1.05 | bride, woman in a wedding veil
groom | 1f935-200d-2642-fe0f | person | 0 | 1.05 | groom, man in a tuxedo
prince | 1f934 | person | 0 | 1 | prince, young king
mrs claus | 1f936 | person | 0 | 1 | santa woman, woman in a red bonnet
man in a turban | 1f473-200d-2642-fe0f | person | 0 | 1 | man in a turban, man with a turban
woman in a headscarf | 1f9d5 | person | 0 | 1 | woman in a headscarf, woman with a headscarf
cherub | 1f47c | person | 0 | .9 | cherub, baby angel
elf | 1f9dd | person | 0 | 1 | elf, pointy-eared elf
genie | 1f9de-200d-2642-fe0f | person | 0 | 1.05 | genie, blue genie
villain | 1f9b9 | person | 0 | 1.05 | villain, supervillain
ogre | 1f479 | person | 0 | .9 | ogre, red demon
goblin | 1f47a | person | 0 | .9 | goblin, mask with a long nose
clown | 1f921 | person | 0 | .85 | clown, funny clown
cowboy | 1f920 | person | 0 | .9 | cowboy, rancher
space invader | 1f47e | person | 0 | .85 | space invader, purple monster
disco dancer | 1f57a | person | 0 | 1.1 | disco dancer, man in a purple suit
walker | 1f6b6 | person | - | 1.1 | walker, pedestrian
snowboarder | 1f3c2 | person | 0 | 1.1 | snowboarder, person on a snowboard
jockey | 1f3c7 | person | - | 1.1 | jockey, horse racer
swimmer | 1f3ca | person | - | 1.05 | swimmer, person in the water
weightlifter | 1f3cb-fe0f | person | 0 | 1.1 | weightlifter, bodybuilder
golfer | 1f3cc-fe0f | person | 0 | 1.1 | golfer, golf player
rower | 1f6a3 | person | 0 | 1.1 | rower, boatman
acrobat | 1f938 | person | 0 | 1.05 | acrobat, gymnast
juggler | 1f939 | person | 0 | 1.05 | juggler, circus juggler
fencer | 1f93a | person | 0 | 1.1 | fencer, swordsman
wrestlers | 1f93c | person | 0 | 1.1 | wrestler, pair of wrestlers
yogi | 1f9d8 | person | 0 | 1 | yogi, person in the lotus position
climber | 1f9d7 | person | 0 | 1.1 | climber, mountaineer
basketball player | 26f9-fe0f | person | 0 | 1.1 | basketball player, person with a basketball
wheelchair | 1f9bd | vehicle | 0 | 1 | wheelchair, invalid chair
bather | 1f6c0 | person | 0 | 1.05 | bather, person in a bubble bath
sun hat | 1f452 | object | 0 | .85 | sun hat, straw hat
bikini | 1f459 | object | 0 | .85 | bikini, two-piece swimsuit
blouse | 1f45a | object | 0 | .9 | blouse, pink blouse
purse | 1f45b | object | 0 | .8 | purse, pink purse
brogue | 1f45e | object | 0 | .8 | brogue, leather shoe
sandal | 1f461 | object | 0 | .8 | sandal, woman's sandal
ankle boot | 1f462 | object | 0 | .85 | ankle boot, boot with a heel
flip-flop | 1fa74 | object | 0 | .8 | flip-flop, beach sandal
ballet shoes | 1fa70 | object | 0 | .85 | ballet shoe, pink slipper
ballet flat | 1f97f | object | 0 | .8 | ballerina shoe, blue slipper
shorts | 1fa73 | object | 0 | .85 | pair of shorts, pair of trunks
swimsuit | 1fa71 | object | 0 | .85 | swimsuit, one-piece swimsuit
sari | 1f97b | object | 0 | .95 | sari, indian dress
lab coat | 1f97c | object | 0 | .95 | lab coat, doctor's coat
safety vest | 1f9ba | object | 0 | .9 | safety vest, orange vest
judo suit | 1f94b | object | 0 | .95 | judo suit, karate suit
vest | 1f3bd | object | 0 | .9 | sports vest, vest with a sash
graduation cap | 1f393 | object | 0 | .85 | graduation cap, mortarboard
hard hat | 26d1-fe0f | object | 0 | .85 | hard hat, rescue helmet
steel helmet | 1fa96 | object | 0 | .85 | steel helmet, soldier's helmet
goggles | 1f97d | object | 0 | .8 | pair of safety glasses, safety eyewear
diving mask | 1f93f | object | 0 | .85 | snorkel, scuba mask
"""
"""name | code point | kind | which way the picture looks (- left, + right, 0 neither) | size | nouns"""


# --------------------------------------------------------------------------- buildings, food, tools and
GOODS = """
house | 1f3e0 | object | 0 | 1.1 | house, little house
office block | 1f3e2 | object | 0 | 1.15 | office block, office building
hospital | 1f3e5 | object | 0 | 1.15 | hospital, building with a red cross
school | 1f3eb | object | 0 | 1.15 | school, schoolhouse
factory | 1f3ed | object | 0 | 1.15 | factory, industrial plant
castle | 1f3f0 | object | 0 | 1.15 | castle, fortress
pagoda | 1f3ef | object | 0 | 1.15 | pagoda, japanese castle
church | 26ea | object | 0 | 1.1 | church, chapel
mosque | 1f54c | object | 0 | 1.1 | mosque, building with a golden dome
greek temple | 1f3db-fe0f | object | 0 | 1.1 | greek temple, building with a colonnade
ruin | 1f3da-fe0f | object | 0 | 1.1 | ruined house, ruin
hut | 1f6d6 | object | 0 | 1.05 | hut, thatched hut
torii | 26e9-fe0f | object | 0 | 1.1 | torii, shrine gate
radio tower | 1f5fc | object | 0 | 1.15 | radio tower, steel tower
statue of liberty | 1f5fd | object | 0 | 1.15 | statue of liberty, green statue
stone head | 1f5ff | object | 0 | 1 | stone head, moai
fountain | 26f2 | object | 0 | 1.05 | fountain, water fountain
circus tent | 1f3aa | object | 0 | 1.1 | circus tent, striped circus tent
ferris wheel | 1f3a1 | object | 0 | 1.1 | ferris wheel, big wheel
roller coaster | 1f3a2 | object | 0 | 1.1 | roller coaster, coaster track
playground slide | 1f6dd | object | 0 | 1.05 | playground slide, children's slide
volcano | 1f30b | object | 0 | 1.1 | volcano, volcano with lava
snowy peak | 1f3d4-fe0f | object | 0 | 1.1 | snowy peak, snow-capped peak
christmas tree | 1f384 | plant | 0 | 1.1 | christmas tree, decorated fir
gravestone | 1faa6 | object | 0 | .95 | gravestone, headstone
petrol pump | 26fd | object | 0 | 1 | petrol pump, gas pump
traffic light | 1f6a6 | object | 0 | 1 | traffic light, traffic signal
barrier | 1f6a7 | object | 0 | .95 | road barrier, striped barrier
stop sign | 1f6d1 | object | 0 | .85 | stop sign, red octagon
postbox | 1f4ee | object | 0 | 1 | postbox, red pillar box
mailbox | 1f4eb | object | 0 | .95 | mailbox, letter box on a post
barber's pole | 1f488 | object | 0 | .95 | barber's pole, barber pole
coffin | 26b0-fe0f | object | 0 | 1 | coffin, wooden coffin
urn | 26b1-fe0f | object | 0 | .9 | urn, funeral urn
amphora | 1f3fa | object | 0 | .95 | amphora, clay vase
ferry | 26f4-fe0f | vehicle | - | 1.15 | ferry, car ferry
cruise ship | 1f6f3-fe0f | vehicle | - | 1.15 | cruise ship, ocean liner
propeller plane | 1f6e9-fe0f | craft | 0 | 1.05 | propeller plane, light aircraft
cable car | 1f6a1 | craft | 0 | 1 | cable car, gondola lift
railway carriage | 1f683 | vehicle | - | 1.1 | railway carriage, railway car
trolleybus | 1f68e | vehicle | - | 1.15 | trolleybus, electric bus
underground train | 1f687 | vehicle | 0 | 1.1 | underground train, subway train
monorail | 1f69d | vehicle | 0 | 1.1 | monorail, elevated train
lifebelt | 1f6df | object | 0 | .9 | lifebelt, ring buoy
saturn | 1fa90 | ball | 0 | .95 | ringed planet, planet saturn
moon | 1f315 | ball | 0 | .9 | full moon, moon
sun | 1f31e | ball | 0 | .95 | sun, sun with a face
comet | 2604-fe0f | craft | 0 | .95 | comet, blue comet
flame | 1f525 | object | 0 | .9 | flame, fire
water drop | 1f4a7 | object | 0 | .75 | water drop, drop of water
burrito | 1f32f | food | 0 | .85 | burrito, wrapped tortilla
chestnut | 1f330 | food | 0 | .75 | brown chestnut, brown nut
chilli | 1f336-fe0f | food | 0 | .8 | chilli, hot pepper
drumstick | 1f357 | food | 0 | .8 | chicken leg, drumstick
ham | 1f356 | food | 0 | .85 | meat on the bone, ham
rice ball | 1f359 | food | 0 | .75 | rice ball, onigiri
curry | 1f35b | food | 0 | .85 | curry, plate of curry
noodle soup | 1f35c | food | 0 | .85 | noodle soup, bowl of noodles
sweet potato | 1f360 | food | 0 | .8 | sweet potato, roasted yam
dumplings on a stick | 1f361 | food | 0 | .85 | dango, skewer of rice balls
fried shrimp | 1f364 | food | 0 | .8 | fried shrimp, breaded prawn
shaved ice | 1f367 | food | 0 | .85 | shaved ice, snow cone
sundae | 1f368 | food | 0 | .85 | sundae, bowl of ice cream
pudding | 1f36e | food | 0 | .8 | custard, caramel pudding
shortcake | 1f370 | food | 0 | .85 | shortcake, slice of cake
lunch box | 1f371 | food | 0 | .85 | lunch box, bento
stew | 1f372 | food | 0 | .85 | pot of stew, stew
fried egg | 1f373 | food | 0 | .85 | fried egg, egg in a pan
paella | 1f958 | food | 0 | .85 | paella, pan of food
salad | 1f957 | food | 0 | .85 | salad, green salad
pita | 1f959 | food | 0 | .85 | stuffed pita, kebab
dumpling | 1f95f | food | 0 | .75 | gyoza, stuffed gyoza
fortune cookie | 1f960 | food | 0 | .75 | fortune cookie, folded wafer
takeaway box | 1f961 | food | 0 | .85 | takeaway box, takeout box
tin can | 1f96b | food | 0 | .8 | can of food, soup can
lettuce | 1f96c | food | 0 | .8 | lettuce, leafy cabbage
moon cake | 1f96e | food | 0 | .8 | moon cake, round pastry
oyster | 1f9aa | sea | 0 | .8 | oyster, oyster with a pearl
salt | 1f9c2 | food | 0 | .75 | salt shaker, salt
juice box | 1f9c3 | food | 0 | .8 | juice box, carton of juice
bubble tea | 1f9cb | food | 0 | .85 | bubble tea, milk tea
soft drink | 1f964 | food | 0 | .85 | soft drink, cup with a straw
martini | 1f378 | food | 0 | .85 | martini, martini glass
whisky | 1f943 | food | 0 | .8 | whisky, tumbler of whisky
champagne | 1f37e | food | 0 | .9 | bottle of champagne, champagne
green tea | 1f375 | food | 0 | .8 | green tea, bowl of tea
olive | 1fad2 | food | 0 | .75 | olive, green olive
flatbread | 1fad3 | food | 0 | .8 | flatbread, naan
tamale | 1fad4 | food | 0 | .8 | tamale, corn wrap
beans | 1fad8 | food | 0 | .75 | kidney bean, red bean
ginger | 1fada | food | 0 | .8 | ginger root, ginger
peas | 1fadb | food | 0 | .8 | pea pod, green pea pod
lotus | 1fab7 | plant | 0 | .85 | lotus, lotus flower
hyacinth | 1fabb | plant | 0 | .9 | hyacinth, purple hyacinth
log | 1fab5 | object | 0 | .9 | log, piece of wood
bird's nest | 1faba | object | 0 | .85 | bird's nest, nest with an egg
spider web | 1f578-fe0f | object | 0 | .9 | spider web, cobweb
rat | 1f400 | animal | - | .85 | rat, long-tailed rat
carp streamer | 1f38f | object | 0 | .95 | carp streamer, fish flag
wind chime | 1f390 | object | 0 | .85 | wind chime, glass chime
fan | 1faad | object | 0 | .85 | hand fan, paper fan
party popper | 1f389 | object | 0 | .85 | party popper, popper with confetti
firecracker | 1f9e8 | object | 0 | .8 | firecracker, stick of dynamite
ribbon | 1f380 | object | 0 | .8 | ribbon, pink bow
theatre masks | 1f3ad | object | 0 | .9 | theatre mask, comedy mask
game controller | 1f3ae | object | 0 | .85 | game controller, gamepad
joystick | 1f579-fe0f | object | 0 | .85 | joystick, arcade stick
slot machine | 1f3b0 | object | 0 | .95 | slot machine, fruit machine
dartboard | 1f3af | object | 0 | .85 | dartboard, target
piano | 1f3b9 | music | 0 | .9 | piano keyboard, piano
conga | 1fa98 | music | 0 | .95 | conga, long drum
skis | 1f3bf | object | 0 | .95 | alpine ski, red ski
cricket bat | 1f3cf | object | 0 | .9 | cricket bat, cricket ball
hockey stick | 1f3d2 | object | 0 | .9 | hockey stick, ice hockey puck
shuttlecock | 1f3f8 | object | 0 | .85 | shuttlecock, badminton racket
bow | 1f3f9 | object | 0 | .95 | bow and arrow, wooden bow
curling stone | 1f94c | object | 0 | .85 | granite curler, polished granite
rugby ball | 1f3c9 | ball | 0 | .75 | rugby ball, oval ball
goal | 1f945 | object | 0 | 1 | goal net, goal
credit card | 1f4b3 | object | 0 | .8 | credit card, bank card
banknotes | 1f4b5 | object | 0 | .85 | banknote, dollar bill
pill | 1f48a | object | 0 | .7 | pill, medicine capsule
seat | 1f4ba | object | 0 | .95 | airline seat, seat
floppy disk | 1f4be | object | 0 | .8 | floppy disk, diskette
compact disc | 1f4bf | object | 0 | .8 | compact disc, silver disc
folder | 1f4c1 | object | 0 | .85 | file folder, folder
clipboard | 1f4cb | object | 0 | .9 | clipboard, brown clipboard
pushpin | 1f4cc | object | 0 | .75 | pushpin, thumbtack
paperclip | 1f4ce | object | 0 | .75 | paperclip, metal paperclip
ruler | 1f4cf | object | 0 | .85 | ruler, yardstick
set square | 1f4d0 | object | 0 | .85 | triangular ruler, drafting triangle
scroll | 1f4dc | object | 0 | .9 | scroll, parchment
fax machine | 1f4e0 | object | 0 | .9 | fax machine, fax
dish antenna | 1f4e1 | object | 0 | .95 | dish antenna, satellite dish
post horn | 1f4ef | music | 0 | .9 | post horn, bugle
film projector | 1f4fd-fe0f | object | 0 | .95 | film projector, movie projector
desktop computer | 1f5a5-fe0f | object | 0 | .95 | desktop computer, monitor
trackball | 1f5b2-fe0f | object | 0 | .8 | trackball, desk trackball
filing cabinet | 1f5c4-fe0f | object | 0 | 1 | filing cabinet, steel cabinet
fountain pen | 1f58b-fe0f | object | 0 | .85 | fountain pen, ink pen
dagger | 1f5e1-fe0f | object | 0 | .9 | dagger, short sword
map | 1f5fa-fe0f | object | 0 | .9 | world map, folded map
ballot box | 1f5f3-fe0f | object | 0 | .9 | ballot box, voting box
battery | 1f50b | object | 0 | .85 | battery, green battery
bolt | 1f529 | object | 0 | .75 | nut and bolt, steel screw
water pistol | 1f52b | object | 0 | .85 | water pistol, toy gun
trident | 1f531 | object | 0 | .9 | trident, golden trident
pickaxe | 26cf-fe0f | object | 0 | .9 | pickaxe, pick
chain | 26d3-fe0f | object | 0 | .9 | chain, iron chain
scales | 2696-fe0f | object | 0 | .95 | balance, brass balance
alembic | 2697-fe0f | object | 0 | .9 | alembic, chemist's flask
test tube | 1f9ea | object | 0 | .85 | test tube, glass tube
petri dish | 1f9eb | object | 0 | .8 | petri dish, laboratory dish
dna | 1f9ec | object | 0 | .9 | strand of dna, double helix
microbe | 1f9a0 | object | 0 | .8 | microbe, germ
brain | 1f9e0 | object | 0 | .8 | brain, pink brain
lotion bottle | 1f9f4 | object | 0 | .85 | lotion bottle, bottle of lotion
thread | 1f9f5 | object | 0 | .8 | spool of thread, reel of thread
safety pin | 1f9f7 | object | 0 | .8 | safety pin, steel pin
paper roll | 1f9fb | object | 0 | .85 | toilet roll, roll of paper
razor | 1fa92 | object | 0 | .85 | razor, razor blade
oil lamp | 1fa94 | object | 0 | .8 | oil lamp, clay lamp
hook | 1fa9d | object | 0 | .85 | hook, metal hook
window | 1fa9f | object | 0 | 1 | window, window frame
plunger | 1faa0 | object | 0 | .9 | plunger, sink plunger
knot | 1faa2 | object | 0 | .85 | rope, knotted rope
mousetrap | 1faa4 | object | 0 | .85 | mousetrap, trap with cheese
placard | 1faa7 | object | 0 | .95 | placard, blank sign
stethoscope | 1fa7a | object | 0 | .9 | stethoscope, doctor's stethoscope
crutch | 1fa7c | object | 0 | .95 | crutch, grey crutch
plaster | 1fa79 | object | 0 | .75 | bandage, adhesive bandage
comb | 1faae | object | 0 | .8 | comb, hair pick
robot arm | 1f9be | object | 0 | .9 | robot arm, mechanical arm
oil drum | 1f6e2-fe0f | object | 0 | .95 | oil drum, barrel
shopping bags | 1f6cd-fe0f | object | 0 | .9 | shopping bag, paper bag
reception bell | 1f6ce-fe0f | object | 0 | .8 | reception bell, desk bell
alarm light | 1f6a8 | object | 0 | .8 | alarm light, police light
pennant | 1f6a9 | object | 0 | .9 | pennant, triangular flag
racing flag | 1f3c1 | object | 0 | .9 | chequered flag, checkered flag
pirate flag | 1f3f4-200d-2620-fe0f | object | 0 | .9 | pirate flag, flag with a skull
rosette | 1f3f5-fe0f | object | 0 | .8 | rosette, paper rosette
ticket | 1f3ab | object | 0 | .8 | ticket, paper ticket
studio microphone | 1f399-fe0f | object | 0 | .9 | studio microphone, radio microphone
bust | 1f464 | object | 0 | .95 | blue bust, bust
"""
"""name | code point | kind | which way the picture looks (- left, + right, 0 neither) | size | nouns"""


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
