"""Buildings, food, tools and further goods for training alone, as in ``playground_things``. Data only."""

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
