"""People and what they wear for training alone, as in ``playground_things``. Data only."""

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
