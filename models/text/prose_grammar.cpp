#include <xtape/models/text/prose_parts.hpp>

namespace xtape::models {

std::string_view prose_grammar() {
    return R"(woman:
= Ada / Berit / Clementine / Dorothea / Elspeth / Florence / Greta / Hazel / Imogen / Juniper / Kirsten / Lavinia
= Maud / Nora / Ottilie / Petra / Rosalind / Sabine / Tamsin / Ursula / Verity / Winifred
man:
= Ambrose / Bartholomew / Casper / Duncan / Edmund / Felix / Gideon / Hugo / Ivor / Jasper / Konrad / Lionel
= Magnus / Noel / Osbert / Percival / Quentin / Rufus / Silas / Theodore / Valentin / Walter
friend:
= old Mrs. Pargeter / the miller's boy / the pedlar from the north / her cousin Agnes / the schoolmaster / Doctor
  Lumley
= the widow Crane / the retired sea captain / the baker's wife / the organist / the tinker / the new postmistress
= the sexton / the drummer / the beekeeper / Constable Rudge / the innkeeper's daughter / the travelling dentist
town:
= Alderwick / Birchover / Cold Ashby / Dunmere / Eastling / Fallowfield / Gorse End / Hollin Bridge / Kettlewell
= Lower Marsh / Netherby / Oxhill / Pennyford / Ravenscar / Saltmouth / Thornbury / Upper Wick / Withy Green
trade:
= a maker of barrels / a mender of nets / a piano tuner / a seamstress / a ferry pilot / a teacher of arithmetic
= a keeper of pigeons / a bookbinder / a chimney sweep / a surveyor of drains / a hatter / an engraver of spoons
= a night watchman / a grower of pears / a glazier / a carver of gravestones / a stationer / a well digger
= a shepherd / a brewer of ginger beer / a cobbler / a copyist of music
thing:
= copper kettle / green umbrella / silver thimble / broken violin / three-legged stool / brass telescope / velvet hat
= box of buttons / left-handed spade / painted drum / jar of marbles / rusty key / weather glass / rocking horse
= pocket almanac / stuffed heron / wooden leg / coil of rope / tin whistle / lace collar / snuffbox / bicycle
place:
= the churchyard wall / the market cross / the old quarry / the tannery / the railway embankment / the duck pond
= the bowling green / the lime kiln / the flour mill / the crooked stile / the reading room / the signal box
= the cattle trough / the lych gate / the boathouse / the ruined priory / the toll house / the orchard
season:
= in the spring of the great flood / one blustery March / in a week of thick fog / at the tail end of summer
= two days before the fair / on the coldest night of the year / during the hay harvest / in apple time
= when the swallows had just come back / in the year of the comet / between Christmas and New Year / one drowsy June
sky:
= pale as skimmed milk / the colour of slate / streaked with pink / low and woolly / full of larks / clear as a bell
= heavy with snow / torn into rags by the wind / a hard, bright blue / yellow along the edges / soft with drizzle
sound:
= a gate banged / somebody laughed / the geese complained / a cart rattled by / a door was bolted / the bell struck
  nine
= a saw began to sing / rain ran in the gutters / a dog barked twice / the wind felt for the latch / an owl answered
food:
= plum dumplings / barley soup / a cold pie / smoked herring / buttered toast / pickled walnuts / oatcakes and cheese
= stewed rhubarb / potato pancakes / gingerbread / a basin of broth / baked apples / seed cake / fried mushrooms
creature:
= lame jackdaw / very fat hen / blacksmith's donkey / tabby cat / ferret / stray spaniel / hedgehog / billy goat
= runaway piglet / toad of uncommon size / family of moles / swarm of bees / grey heron / one-eyed parrot
manner:
= with great dignity / in a whisper / without looking up / rather crossly / through a mouthful of pins / after a pause
= as if it were nothing / very slowly / with a sniff / in the tone of a judge / between two sneezes / cheerfully
feeling:
= puzzled / proud / a little ashamed / hopeful / weary / curious / cross / relieved / uneasy / delighted / stubborn
number:
= three / four / five / six / seven / eight / nine / eleven / a dozen / fourteen / nearly twenty
title:
- $Hero and the $Thing
- The $Thing of $Town
- How $Hero came to $Town
- A $Thing at $Town
- What became of the $Thing
- The luck of $Hero
opening:
- In $Town there lived $Trade called $Hero, who owned nothing of value but a $Thing.
- $Hero was $Trade, and the best that $Town had ever had, although nobody there would have admitted it.
- People in $Town still speak of $Hero, who came to them $season with a $Thing under one arm.
- It was $season that $Hero, $Trade, found a $Thing lying beside $place.
- Nobody could say how the $Thing had come to $Town, but everybody agreed that it ought to belong to $Hero.
- When $Hero was young, $they made up $their mind to be $Trade, and told no one for $number years.
- "Never lend a $Thing," said the people of $Town, and they said it because of $Hero.
- There was only one $Thing in the whole of $Town, and $Hero, who was $Trade, had promised to look after it.
- Most mornings, before the shops were open, $Hero could be seen walking to $place with a $Thing.
- $Hero had $number aunts, and each of them had given $them the same advice: stay in $Town and become $trade.
- The road to $Town goes past $place, and there, $season, $Hero sat down upon the verge and refused to go on.
- Of all the people in $Town, $Hero was the last from whom one would have expected an adventure.
- "I have lost my $Thing," said $Hero, "and I shall not eat another meal until it is found."
- $Hero, being $Trade, was used to getting up early, and so $they was the first to see what had happened at $place.
weather:
- The sky that day was $sky, and beyond $place $sound.
- It had rained for $number days, and the lane to $place was more of a brook.
- Over the roofs hung a sky $sky; down in the street $sound.
- There was no wind at all, and the smoke of $Town stood up like a row of pencils.
- The morning was $sky, and smelled of wet leaves and of $food.
- Far off, behind $place, $sound, and then it was quiet again.
- Frost had drawn ferns upon the windows, and even the $Creature had come indoors to be near the stove.
- By four o'clock the light was going, and in the kitchens of $Town they were setting out $food.
- It was so hot that the tar ran on the roofs and the $Creature lay in the shade of $place without moving an ear.
- A mist had come up from the river and taken away $place, the bridge and most of the high street.
- The evening came in $sky, and one after another the lamps were lit.
want:
- All that $they wanted was to hear it spoken of, just once, by $Friend.
- For $number years $they had been saving up to go and see the sea, which is a long way from $Town.
- $They had a plan, and the plan needed $food, a ladder and the help of $Friend.
- $They wished above all to be left in peace, and so of course $Friend called every afternoon.
- There was to be a prize of $number guineas for whoever could mend the $Thing, and the roof needed new slates.
- $They had quarrelled with $Friend over a matter of $food, and did not know how to end it.
- What troubled $them was that the $Creature had taken to following $them about, even to church.
- $They had sworn to give it back, but the owner had moved away from $Town and left no address.
- In a drawer $they kept a letter that began: "When you are $trade, come and find me at $place."
- It seemed to $them that if only one person believed it, $they could manage the rest alone.
- $Friend had once told $them that it could not be done, and $they had thought of little else since.
trouble:
- But that night somebody climbed over $place and carried off the $Thing, and in its stead left $food.
- Then the $Creature got into the house, and by the time it was got out again the $Thing lay in $number pieces.
- Unluckily, $Friend had heard of it as well, and arrived at $place first, out of breath and $feeling.
- On the way home $they slipped at $place, and when $they got up the $Thing was gone.
- The council of $Town met for $number hours, ate $food, and forbade it.
- "It is a forgery," declared $Friend $manner, and held the $Thing up to the light so that all could see.
- No sooner had $they begun than $sound, and $Friend came running to say that the bridge was down.
- A letter came from a lawyer, $number pages long, in which the word regrettable was underlined.
- For a whole week $they heard nothing, and then, $season, the $Creature turned up on the doorstep with a note.
- The trouble was that $Friend had promised the very same thing to the people of $town.
- $They waited at $place until the stars came out, but nobody came except the $Creature.
- And just then the rope broke, as ropes do, and the $Thing went down past $place and into the dark.
talk:
- "You might have asked me," said $Friend $manner. "I might," said $Hero, "but you would have said no."
- "Is it heavy?" asked $Friend. "Only when you carry it," said $Hero.
- "I should like to know who put the $Creature in my bed," said $Friend, looking $feeling.
- "How much do you want for the $Thing?" "More than you have." "And if I throw in $food?" "Then we can talk."
- "I was never in $town in my life," said $Friend, "and besides, it was raining."
- "Listen," said $Hero. They listened. Somewhere $sound. "There," $they said. "That was it."
- "You are holding it upside down," $Friend said $manner, and went on eating $food.
- "What would your mother say?" "She would say that I was $feeling," said $Hero, "and she would be right."
- "I have thought of everything," said $Hero. "You have not thought of the $Creature," said $Friend.
- "Are you afraid?" "Of course I am," said $Hero $manner. "It would be foolish to come all this way and not be."
- "That is the second time this week," said $Friend, "and the first was worse." Nobody cared to ask about the first.
- "Someone in $Town knows more than he is saying." "Everyone in $Town says more than he knows," said $Friend.
- "We could always go home," said $Friend $manner. They looked at one another, and neither of them moved.
- "It was like that when I found it." "And when did you find it?" "Just before it was like that," said $Hero.
attempt:
- So $they put on two coats, filled one pocket with $food and the other with string, and set out for $town.
- First $they tried kindness, then arithmetic, and finally a hammer.
- $They asked at every door from $place to the mill, and was given $number different answers and a cup of tea.
- All night long $they sat up with a candle and took it apart, and laid the pieces in rows upon the table.
- With the help of $Friend, who held the lantern and complained, $they dug a hole as deep as a man beside $place.
- $They wrote to $town, to the bishop, and to a firm that advertised in the newspaper; the firm sent a catalogue.
- It took $number strong men and the $Creature to move it as far as $place, where it stuck.
- $They practised in the barn, where nobody could hear, until even the rats were $feeling.
- $They drew a map of all the places where it could not be, and was left with $place.
- Then $they had an idea so simple that $they sat down on the step and laughed.
- $They borrowed a boat, a bell and $food for two, and told nobody but $Friend, who told everybody.
- Day after day $they went back, and each time $they stayed a little longer and took a little less.
turn:
- And there, under $place, wrapped up in an old newspaper from $town, was the $Thing.
- It turned out that $Friend had kept the other half all the time, in a biscuit tin, and had been too shy to say so.
- What $they had taken for a mistake was a signature: it said, quite plainly, the name of $Friend.
- Just when nobody expected anything further, the $Creature sat down upon the spot and would not be moved.
- Then $Friend did something that surprised the whole of $Town, and gave away the $Thing.
- $They looked again, by daylight and $feeling, and saw that it had never been broken; it was only folded.
- In the crowd stood a stranger from $town, who went quite white and said: "That belonged to my brother."
- The second time $they did it with $their eyes shut, and it went as smoothly as butter.
- "Oh, that," said $Friend. "I have had one of those in the attic for $number years. You had only to ask."
- Inside it there was another, smaller and much older, and inside that one a slip of paper with a date.
- It was the $Creature, in the end, who found the way in, by following the smell of $food.
- At that moment $sound, and all at once $they understood why it had to be done at $place and nowhere else.
ending:
- They had $food that night at one long table, and the $Thing stood in the middle of it, polished by somebody.
- From then on $Hero and $Friend met at $place every Sunday, and disagreed.
- You can see it today in the museum at $town, but the label is wrong.
- $Hero went back to being $Trade; but $they left the door open, in case.
- And if the $Thing has not rusted away, it is hanging in $Town still, on a nail beside $place.
- That winter nobody in $Town went hungry, and nobody was quite so sure of himself as before.
- As for the $Creature, it lived to a great age, and was buried with honours near $place.
- $Friend never spoke of it again, except $season, and then only to people who had not asked.
- The money went on new slates, and what was left over on $food for $number.
- $They wrote it all down in a book, but the mice ate it, and so you must take my word.
- Nothing was changed, to look at; but strangers who passed through $Town remarked that the people there whistled.
- $Hero kept the receipt, as anyone would, and is $feeling about it to this day.
remark:
- There is no moral to this, unless it is that one should always carry string.
- $Friend used to say that it proved the value of $food, but $Friend said that of everything.
- Some people think that it was luck, and some that it was the $Creature; I think that it was a good pair of boots.
- It is curious how often a thing is lost by those who guard it, and found by those who are looking for their hat.
- Whoever has once been $feeling in front of a whole town need not be afraid of very much.
- The clever people of $town tell the story differently, but they were not there.
- I had this from $trade, who had it from $Friend, who was never known to add more than a third.
- A thing that has been mended is worth more than a new one, for it knows something.
- My grandmother, who was from $town, always stopped at this point and asked for her tea.
- So it goes with most wishes: you get them $number years late, and in a different colour.
- And yet it might all have been avoided, if only they had begun with $food.
letter:
- The post was late again because the horse will not pass $place since it met a $creature there.
- We have had $food every day this week, and I am beginning to feel $feeling.
- Your uncle has bought a $thing. He says that it was a bargain. It stands in the hall and we walk around it.
- I went to $town for the day and came back with a cold and a $thing, neither of which I had intended.
- You will laugh when you hear that $woman is to marry $trade; she met him at $place, in the rain.
- The choir has lost its tenor to $town, and in his place we have $man, who means well.
- Yesterday $sound, just as the vicar came to the important part, and a $creature walked in at the open door.
- I have counted the jars: there are $number of plum and only two of quince, so please come before the quince is gone.
- It has been $sky since Monday. Everyone is $feeling, and the hens have stopped laying.
- Do you remember the $thing that we buried near $place? The new people have dug it up and put it in their window.
- $man tells everyone that he saw a light over $place at midnight. It was I, with a lantern, looking for the cat.
- They have mended the clock, and now that it strikes properly nobody can sleep.
- There was a quarrel over the flower show. I will not say who began it, but it was $woman, with a marrow.
- Little $man has learned to read, and reads aloud everything he sees, which made our walk past the tannery very slow.
- I asked $man for the recipe, and he told me $manner that it needs $food and a clear conscience.
- On Friday $woman gave a lecture about $town with coloured slides, of which $number were the wrong way up.
- We are all in good health, except $man, who fell off the $thing, and he only limps when he is asked about it.
- $woman has taken up painting. She has done $place in oils, and it looks much better than it is.
- If you should pass through $town, be so kind as to find out what they ask there for a $thing in fair condition.
- I found your old boots. There is a $creature living in the left one, so I have put them back.
greeting:
= My dear $woman, / Dear $man, / Dearest $woman, / My dear old $man, / Dear cousin $woman, / Dear Uncle $man,
farewell:
- The kettle is boiling over, so I will stop here. Ever yours, $woman.
- Write soon, and leave nothing out. Your friend, $man.
- There is no more room on the page except for love from all of us, and from $woman.
- I must catch the post. In haste, $man.
- Burn this, or at least do not show it to $woman. Always your $man.
- With a kiss for the little ones and a firm handshake for the dog, your $woman.
- Forgive the blot; it was a $creature. Yours as ever, $man.)";
}

}  // namespace xtape::models
