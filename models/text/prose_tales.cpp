#include <xtape/models/text/prose_parts.hpp>

namespace xtape::models {

std::string_view prose_tales() {
    return R"(The Lamplighter's Ladder

There was once a town on the side of a hill so steep that every house looked over the roof of its neighbour. At dusk
an old man called Tobias Fenn went up through the streets with a ladder on his shoulder and lit the lamps, and before
dawn he came down again and put them out. He had done this for forty-one years, and in all that time no one had ever
asked him what he thought about on the way.

One winter the mayor bought a machine that could light every lamp at once by turning a brass wheel. The town gathered
in the square to see it. The wheel turned, the lamps shone, and the people clapped their mittens together. Tobias
clapped too, because it was a fine machine, and then he carried his ladder home and did not know where to put it.

For a week he sat by the window. The lamps came on all together, like soldiers, and went out all together, and the
nights seemed to him shorter than they had been. On the eighth evening a girl from the lowest street knocked at his
door. "Our lamp is dark," she said. "The wheel turns but ours does not listen."

He took the ladder and went down with her. A wasp had built a nest in the pipe. He cleared it out with a wire, and
while he was up there he noticed that the glass was dirty, and cleaned it, and that the hinge was loose, and tightened
it. When he had finished, the lamp shone twice as bright as the one beside it, so of course he had to see to that one
as well.

By spring there was not a clouded glass in the town, and people said the new machine grew better with every month. The
mayor said so too, and gave a speech about progress. Tobias listened from the top of his ladder, where the view was
good, and thought about what he had always thought about: which lamp came next, and whose window it would fall upon.


On Keeping a Notebook

A notebook is the cheapest house a person can own. It has as many rooms as you like, nobody collects the rent, and you
may leave the doors open when you go out. I have kept one since I was nine, and I can say with confidence that most of
what I put in it was not worth the ink. That is not an argument against it. Most of what falls on a field is not seed
either.

The trick is to write before you know what you mean. People who wait until a thought is finished find that it has left
without them. A half sentence about the smell of a railway station will bring back the whole afternoon ten years
later, while a polished paragraph about the nature of travel brings back nothing at all. Facts keep better than
opinions. Write down what the bread cost, who was late, which way the wind blew, and what the dog did. Your opinions
will still be there in the morning, and if they are not, so much the better.

I once lost a notebook on a ferry and grieved for it as if it were a relation. A month later it came back by post,
with a note from a stranger who said that he had read all of it, that he was sorry, and that I was wrong about eels. I
wrote to thank him and to ask how I was wrong. We have been writing to each other ever since. He has taught me a good
deal about eels, and I have taught him nothing, but he is kind enough to say that my handwriting has improved.


The Fox and the Well

A fox who was proud of his jumping came one hot day upon a well. Far below he saw the round sky, and in it another
fox, looking up. "Friend," he called, "is it cool down there?" The other fox opened his mouth at the same moment, and
the well said: "Cool down there."

"Is there water enough for two?" asked the fox. "For two," said the well. "And would you advise me to jump?" "Jump,"
said the well.

Now the fox was thirsty, but he was not a fool, and it struck him as odd that a stranger should agree with him in
everything. His uncle agreed with nobody. His sisters agreed only when they wanted something. So he went and fetched a
stone and pushed it over the edge, and listened for a long while before he heard it strike.

"I shall remember you," he told the fox in the well, "as the most agreeable company I ever had, and the most
expensive." Then he trotted off to the river, where the frogs contradicted him all evening, and drank as much as he
liked.


A Conversation at the Ferry

"When does the boat leave?"

"When it is full."

"And when will it be full?"

"That depends on how many people come."

"How many come, on a day like this?"

"On a day like this? You are the first I have seen. But then, it is the first day like this."

"I have to be in Harrow Point by noon. My brother is getting married."

"Then I would start walking."

"There is a river in the way."

"So there is. You noticed. Most people who want to be somewhere by noon do not notice the river until they are wet."

"Will you take me across, yes or no?"

"I will take you when the boat is full. How much do you weigh?"

"What has that to do with it?"

"The boat is full at sixty stone. There is a heap of gravel over there that belongs to a man in Harrow Point. He has
been waiting for it since April. If you were to load, say, forty-eight stone of it, you and I and the gravel would
make sixty, and we could go at once."

"You want me to shovel gravel in my wedding coat?"

"I want nothing. I have been happy here since April. Hang the coat on the willow; it will not rain before two."

"And what do I get for it?"

"You get across. And the man with the gravel is your brother, unless I am mistaken. He means to build a house. It
would make a handsome present."


Seven Things My Grandmother Said About Bread

She said that flour remembers how it was treated, and that if you are angry you should make soup instead.

She said that the oven is hot enough when you can hold your hand in it for as long as it takes to say the names of all
your children, and that this is why women with many children bake a paler loaf.

She said that a recipe is a letter from someone who could not come in person, and that it is rude to skip parts of it.

She said that yeast and gossip rise in a warm room, and that both should be knocked down once before they are of any
use to anybody.

She said that you should never cut a loaf while it is singing. If you put your ear to the crust when it comes out of
the oven, you can hear it crackle and sigh; that is the bread telling itself what has happened to it, and you should
let it finish.

She said that the first slice belongs to whoever is hungriest, the second to whoever is saddest, and the heel to the
cook, who has earned it.

And when I asked her how long it would be before I could bake as well as she did, she weighed me with her eyes, the
way she weighed salt, and said: about four hundred loaves. I have kept count. I am at three hundred and twelve, and I
am beginning to suspect that she was only being polite.


The Mapmaker of Low Water

The coast at Low Water moves. The sand walks a little every night, and in a storm it runs. For this reason the maps
that sailors bought in the city were worse than useless there, and the village kept a mapmaker of its own, whose duty
it was to row out each Monday with a lead and a line and draw the channels afresh.

Mira Tull had inherited the post from her father, together with his boat, his pens and his temper. She drew a
beautiful map. She put in the sandbanks with fine dots, the depths in small blue numbers, and in the corner a whale,
because there was always some room in the corner. By Friday the map was wrong, and on Monday she began again.

A scholar came from the city to study the tides. He lodged at the inn, and in the evenings he explained to anyone who
would listen that it was a great waste to draw the same coast eighteen hundred times. "What you want," he told Mira,
"is the law behind it. Find the law, and you need never draw another map."

"And have you found it?" she asked. He had found most of it, he said. There remained a small residue. He showed her
the pages, and she read them with care, for he wrote a good clear hand. Then she took down from the loft a chest with
her maps, and her father's, and those of her grandfather, who had drawn no whales, and gave them to him.

He did not come down to supper for nine days. On the tenth he came to her door, unshaven and shining with joy. The law
had another term in it, he said. It went with the moon, and with the river, and with something else that he could not
name but could now see as plainly as his own hand, because her family had written it down every Monday for ninety
years without knowing what it was.

"Then I may stop?" said Mira. The scholar looked at the chest, and at the sea, and had the grace to blush. "On no
account," he said. "There is still a residue."


How to Walk in the Rain

First of all, give up. The man who hopes to stay dry walks with his shoulders about his ears and sees nothing but his
own boots; he arrives wet and in a bad temper, having paid twice for the same shower. Once you have admitted that you
will be soaked, the rain loses interest in you, and you may look around.

Look at the roofs. You will learn more about your neighbours from their gutters than from their conversation. Here is
one who has not been up a ladder in ten years, and here is another who has mended the same corner three times because
he is too proud to ask a tinsmith. Listen to the trees: a beech keeps the rain off for ten minutes and then lets go of
it all at once, while a pine begins to drip immediately but never does any worse. It is much the same with friends.

Walk a little slower than usual. The smell that rises from a dusty road in the first minute of a summer shower has no
name in our language, which I consider a scandal. Children know what puddles are for. Dogs know it as well, although
they pretend to be surprised. If you meet someone coming the other way, equally wet, you will greet each other like
veterans, and for the rest of the day you will be a slightly better person than you were.

When you get home, do not change at once. Stand for a moment at the window, dripping on the boards, and look out at
the place where you have just been. It looks uninhabitable. That is the whole secret: nearly all bad weather is seen
through glass.


The Clock That Was Sorry

In the hall of a tall, narrow house there stood a clock that ran eleven minutes slow. It was a handsome clock, with a
moon on its face and a ship that rocked upon tin waves, and it knew perfectly well that it was slow. Every quarter of
an hour it heard the church strike across the square, and every time it thought: there, I have done it again.

The family did not mind. They had been adding eleven minutes for so many years that they did it as other people
scratch their heads. But the clock minded. It tried to hurry. It held its breath at the top of each swing, so as to
waste no time on breathing. It grew thin and nervous, and gained nothing but a faint whistle.

One day a clockmaker came to tea. He was somebody's cousin, and had not come about the clock, but he cocked his head
at the whistle, as a doctor does at a cough. "May I?" he said, and opened the little door. He looked for a long time.
"Who set this pendulum?" he asked. Nobody knew. Their great-grandfather, perhaps, who had been a sea captain and had
timed everything by a town eleven minutes to the west, where, it was said, a certain lady lived.

They all stood in the hall and looked at the moon and the ship. "Shall I put it right?" said the clockmaker. The
youngest child said no before anybody else could speak. And the clock, which had listened to every word, let out its
breath, and swung wide and easy for the first time in a hundred years; for it had not been slow at all. It had been on
time, somewhere else.


Advice to a Young Gardener

You will be told that gardening teaches patience. It does not; it merely punishes the lack of it. Whoever digs up a
bean to see how it is getting on will have to plant another bean. After the third one, most of us find something else
to do with our hands, and this is afterwards called patience.

Begin with radishes. They are not the noblest of vegetables, but they come up in five days, and a beginner needs some
encouragement, as a choir needs one loud tenor. Then try peas, which climb, and lettuces, which sulk. Leave roses to
people who enjoy being hurt. Do not believe the picture on the packet. The picture was painted by a man in a warm room
who had never met your slugs.

Weeds are plants with better manners than yours: they come without being asked, need nothing, and never complain. You
will defeat them only in the sense that you will still be there. Talk to your neighbours over the fence. They will
disagree with one another about everything, about the moon and manure and when to prune, and each of them will have a
better garden than you. From this you may conclude that it is not the rules that do it, but the going out every day to
see.

And when in your fourth or fifth year you pull from the ground a single carrot, long and straight and smelling of
rain, eat it there, standing up, with the earth still on it. Tell no one. There will be plenty of time later for
showing off.


The Two Bridges

Two brothers were given the task of building a bridge over the Arle, and since they could not agree, the council let
each of them build his own, a stone's throw apart. The elder built in oak. He worked fast, and his bridge was open by
harvest. The younger built in stone. He spent the first year on one pier and the second year on taking it down again,
because he did not like the look of the water around it.

The elder took the tolls and bought a coat with a velvet collar. Every morning as he crossed he called out to his
brother, who stood up to his waist in the river: "Any deeper today?" And the younger answered: "About the same, thank
you."

In the sixth year there came a flood. It carried down trees, and barns, and at last, with a noise like a great door
slamming, it carried down the bridge of oak. The stone bridge stood. It was not finished; it reached only as far as
the third pier, in the middle of the stream, and ended there. But on that half of a bridge, high and dry, stood eleven
cows, a postman and the elder brother in his velvet collar, who had been driven there by the water from both sides.

They sat out the night together. "What did you do," the elder asked at last, "in all that time, before you began to
build?" "I watched the river," said the younger. "It has a habit in the spring of leaning to the left." In the morning
the people came with boats. And the elder, when he had got his breath and given the coat to the postman, who was cold,
waded in beside his brother and asked him to show him where it leaned.


A Short History of My Umbrella

I bought it in a shop that sold nothing else, from a woman who opened it indoors without the least concern. "It will
outlive you," she said. I found this tactless, but it had a handle of cherry wood, and I was young.

In its first year it was left in four cafes, a library and the waiting room of a dentist, and was returned each time
by a different person. In its second it turned inside out on a bridge, in front of a brass band, who were kind enough
to stop playing. In its fifth it was lent to a lady who wished only to reach the corner, and who is now my wife. She
says that she noticed the handle before she noticed me.

It has served as a tent for two children, as a sword, as a curtain pole, and once, during a trying August, as the mast
of a raft. It has been to nine funerals, and it rained at six. It has kept the sun off a sleeping dog. The cloth has
been replaced three times and the ribs twice, and a philosopher at my club maintains that it is therefore no longer
the same umbrella. I told him that I am not the same man either, and that so far neither of us had complained about
the other.

Last week I left it on a train. I am not worried. I have put the kettle on, and I am listening for the bell.


Letter from a Lighthouse

Dear Josephine, you ask what we do all day, and whether it is lonely. I will answer the second question first. There
are three of us on a rock that you could walk around in the time it takes to boil an egg, and so I would give a
month's wages for an hour of loneliness. Old Pym sings. He does not sing well, but he sings thoroughly. Carrick does
not speak from one week to the next, and he does it in a way that can be heard all over the tower.

As for what we do: we carry things up the stairs. There are one hundred and ninety-nine of them. We carry up oil, and
water, and coal, and then we carry down ashes. We polish the great lens with a cloth of soft leather, every prism of
it, and when we reach the end it is time to start again. At night we take turns to sit beneath the light and wind the
clockwork that turns it. If you sit very still you can feel the whole tower hum, like a glass when you run a wet
finger around its rim.

On Tuesday, in the fog, a small bird flew against the pane and dropped on the gallery. Carrick went out for it. He
kept it in his cap beside the stove, and fed it bread and milk from the end of a match, and when Pym began to sing he
looked at him, only looked, and Pym stopped. In the morning it flew. Carrick watched until there was nothing left to
watch. Then he turned round and said, in quite an ordinary voice, "Well, that's that." It is the longest speech he has
made since March, and we have talked of little else.

The boat is coming, so I must close. Please send socks, and the end of the story in the October magazine, for ours has
been got at by mice just where the Count takes off his mask. Your affectionate brother, Will.


Why the Owl Is Awake

When the animals were given their hours, they stood in a long line before the old Tortoise, who kept the list. The
cock came first, naturally, and took the dawn. The bees took noon, the bats took dusk, and the cat, who had been told
that she might have only one, took them all and was not sorry.

The owl came late. She had stopped on the way to listen to a mouse who was telling a story to her young under the
roots of a hawthorn, and it was a long story. By the time she reached the front, there was nothing left on the list
except the middle of the night, which nobody wanted, for it was cold and one could not see.

"I am afraid that it is rather empty," said the Tortoise. "You might share with the moon." The owl thought about it.
"Do people tell stories in it?" she asked. "Why, yes," said the Tortoise, turning over the page. "When they cannot
sleep. Almost all of the best ones." "Then I shall want larger ears," said the owl, "and larger eyes, and feathers
that make no noise."

The Tortoise wrote it down. That is why the owl comes so softly to the barn and sits with her head on one side; and if
you break off in the middle, and turn over, and fall asleep, you may hear her outside in the dark, asking who, and
who, and what they did then.


The Trouble with Advice

My father gave no advice. If you asked him whether to take the high road or the low road, he would tell you which of
them had the better blackberries. If you asked him whether to marry, he would tell you how he had once bought a horse.
I used to think that this was because he had no opinions. Now I believe that he had so many that he was afraid to let
one out, in case the others should follow.

Advice is the only thing that people would rather give than receive. It costs nothing to make, and yet it spoils
quickly: what was sound at breakfast may be fatal by tea. The adviser remembers his own case, with its own weather; he
hands you his coat and is offended that the sleeves are too long. And you, who asked for it, had already made up your
mind, and only wished to hear somebody else say it aloud.

There are exceptions. Do not stand up in a small boat. Read the last line of a contract first. If a cook is thin, ask
who does the tasting. Never reply to a letter on the day that it makes you angry, nor leave a kind one until tomorrow.
These have held good wherever I have tried them. The rest depends upon the blackberries.


The Goose Who Counted

Seven geese lived on a pond, and one of them could count. It had come to her suddenly, one evening when the others
were settling down to sleep: there was one, and one more made two, and so on, up to six and herself. She was so
delighted that she counted them again from the other end, and it came out the same.

After that she could not stop. She counted the posts in the fence, and there were twenty. She counted the clouds, but
they would not keep still. She told the others, who were impressed for about as long as it takes to eat a snail. "And
what is it for?" asked the gander. She had to admit that she did not know.

In November, on a night without a moon, a fox came over the ice. There was a great noise and a great deal of feathers,
and then silence. "Are we all here?" cried the gander. And each of them looked about in the dark, and saw geese on
every side, and said that it seemed so. Only the one who could count went round from back to back, touching each with
her bill. "Six," she said. "Someone is missing."

They searched, and found the youngest at the far end of the pond, with one wing frozen to the ice, too frightened to
call. They breathed upon it, all together, until it came free. In the morning the gander came up to the goose who
could count, and coughed, and asked if she would be so good as to show him how it was done. "It begins," she said,
"with caring whether there is one."


What the Carpenter Knew

A rich man ordered a table, and asked the carpenter how long it would take. "A month," said the carpenter. "But it is
only a board and four legs!" said the rich man. "True," said the carpenter. "I can make you the board and the legs by
Thursday. The rest of the month is for the table."

The rich man laughed and went elsewhere, and had his board and legs on Thursday. It was a large one, and it shone. At
the first dinner it rocked, so that the soup ran to the left; he folded up a letter and put it beneath one foot, and
then the soup ran to the right. By Christmas the top had a crack that you could post a coin through. In the end he
went back to the carpenter. "I have come," he said, "about the rest of the month."

So he was given a stool and allowed to watch. He saw the carpenter turn over forty planks and send back thirty-six. He
saw him plane a surface that was already smooth, lay his cheek along it, and plane it again. He saw four days in which
nothing took place at all. "What are we waiting for?" he whispered. "For the wood to make up its mind," the carpenter
said. "It was a tree for two hundred years. One should not hurry it into being furniture."

The table is still in use. Six generations have eaten at it, quarrelled over it and done their lessons on it; one was
born on it, in a hurry, during a snowstorm. It has never rocked. And it is said in that family, when somebody asks how
long a thing will take: do you mean the legs, or the table?


Two Neighbours on a Wall

"You have planted your beans too close," said Mr. Abbott.

"You have painted your shed green," said Mrs. Quill.

"What is wrong with green?"

"Nothing is wrong with it. The grass is green. I only thought that a shed might like to be something else."

"They will strangle one another. I have seen it happen. In a month you will not be able to tell which bean is which."

"I had not planned to call them by name."

"My wife, when she was alive, always put them a hand apart."

"I remember. She gave me these. She said: put them in close together, Edith, they like the company. She told me that
you measured yours with a ruler and that she moved them afterwards, when you had gone in."

"She never did."

"Every May. She moved them in and you moved them out. She said that it was the secret of her beans, so much exercise
while they were small."

"Well. I always wondered why they came up crooked."

"It is a very nice green, really. Now that the sun is on it."

"I might do the door another colour. What colour do you think a door would like to be?"


On Small Towns and Large Maps

The village in which I was born does not appear on any map that you could fold. To find it you need one of those
sheets that hang in the offices of surveyors, where each barn has its own little rectangle, and even then it lies
exactly upon the crease. For years I was a bit ashamed of this. When people asked me where I came from, I named the
nearest city, as a man who owns a rowing boat will speak of his connection with the sea.

I have since lived in four capitals. They are excellent places, and everything in them has been described. You cannot
cross a square without treading on a poem. The cathedral is just like its picture, and you stand in front of it with
the feeling that you have been sent to check. Nobody has ever described the pump in our village, or the way in which
the light comes through the wheelwright's window in October and lies down among the shavings like a dog. I thought for
a long time that this was because they were not important. But it may only be that everyone who ever saw them had work
to do.

So I have bought the large sheet and pinned it over my desk. I have begun at the top left-hand corner, with the
Harmers' pigsty, and I am putting things in. It will take a while. There is more in a small place than in a large one,
because in a large one you are allowed to leave things out.


The Ghost of Number Nine

The ghost at number nine had been in the house since 1740, and regarded herself as the owner. She put up with the
tenants. There had been a wig maker, a family of Methodists, two sisters who bred canaries, and a dentist, at whose
patients she had never needed to moan. Now there came a young man named Oliver Pratt, with eleven boxes of books and
one saucepan.

On the first night she walked through the wall in her grey silk and stood at the foot of his bed, wringing her hands.
He sat up. "Oh, thank goodness," he said. "Do you know how the stove works?" No one had ever asked her such a thing.
She did know, having watched five cooks struggle with it. She pointed to the damper. "It sticks," she said; it was the
first word she had spoken in a hundred and ten years, and it came out like a hinge.

It was very hard to haunt him after that. He asked her about the wig maker, and wrote it down. He wished to know what
they had eaten, what a pound of candles cost, and whether people had really been shorter. When she rattled the chain,
he inquired where it had come from, and it turned out that she had forgotten. "I think that it belonged to a dog," she
said slowly. "A brown dog. His name was Captain." And she sat down on a box of books, and cried a little, and felt a
good deal better.

The book came out in the following spring, and was praised for its remarkable sense of detail. It is dedicated to a
lady at number nine. She has read it four times, over his shoulder, for he turns the pages at just the right speed.
She no longer wrings her hands. She has begun to correct the proofs.


Instructions for Borrowing a Boat

Ask in the morning, when the owner has not yet thought of a use for it. Bring something in your hand: a jar of honey
will do, or news. Do not say that you are an experienced sailor, for he has heard that before, and the last time it
cost him a rudder. Say that you would like to go as far as the island and back, and let him tell you about the
current. You may know all about the current. Let him tell you.

Look the boat over while he talks, but not as if you were buying it. Admire one thing only, and let it be something
that he made himself. Count the oars. If there is a bucket, ask what it is for; if there is no bucket, ask for one.
Remember how the rope was tied, since you will be judged by how you tie it.

On the water, keep within sight of his kitchen window until you are round the point. You will be tempted to go farther
than you said. Go exactly as far as you said. The sea has no memory, but the owner has, and in a small harbour his
good opinion is worth more than any lobster.

When you come back, wash out the sand. Put the oars where you found them and the bucket where it ought to have been.
Then knock on the door, with wet feet, and say: she leans a little to the left, doesn't she? He will be delighted. He
has been waiting for twenty years for someone else to notice.)";
}

}  // namespace xtape::models
