"""More things for training: what is learnt from many of them carries over to things never shown.

Data only, laid out as in ``playground_things``. No probe and no sample clip draws these.
"""

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
